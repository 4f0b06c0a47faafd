;; What a module exports and imports (sections 1 and 2). Each module below is
;; complete; the lines that begin with ;;! say what a host makes of it.

;;! == the smallest plugin
;;! at rcpt
;;! => continue
(module
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32) (i32.const 0)))

;;! == a plugin without hooks
;;! at rcpt
;;! => continue
(module (memory (export "memory") 1) (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == exports of its own are nobody's business
;;! at rcpt
;;! => accept
(module
  (memory (export "memory") 1)
  (global (export "g") i32 (i32.const 1))
  (table (export "t") 1 funcref)
  (func (export "malloc") (param i32) (result i32) (i32.const 0))
  (func (export "mta2_on_rcpt") (unreachable))
  (func (export "_start") (unreachable))
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32) (i32.const 1)))

;;! == all hooks are known by name
;;! at rcpt
;;! => continue
(module
  (memory (export "memory") 1)
  (func $f (export "mta1_on_connect") (export "mta1_on_tls") (export "mta1_on_ehlo") (export "mta1_on_auth") (export "mta1_on_command")
    (export "mta1_on_mail") (export "mta1_on_rcpt") (export "mta1_on_data") (export "mta1_on_headers") (export "mta1_on_message")
    (export "mta1_on_reset") (export "mta1_on_close") (export "mta1_on_route") (export "mta1_on_attempt") (export "mta1_on_result")
    (export "mta1_on_dsn") (export "mta1_on_tick") (export "mta1_on_selftest") (export "mta1_init") (result i32) (i32.const 0)))

;;! == a misspelt hook (2.5)
;;! refused "mta1_on_recipient"
(module
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_recipient") (result i32) (i32.const 0)))

;;! == a reserved name
;;! refused "mta1_x"
(module
  (memory (export "memory") 1)
  (global (export "mta1_x") i32 (i32.const 0))
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == a name that begins with wasmta.
;;! refused "wasmta."
(module
  (memory (export "memory") 1)
  (func (export "wasmta.fuel") (result i32) (i32.const 0))
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == no mta1_init (2.1)
;;! refused "mta1_init"
(module
  (memory (export "memory") 1)
  (func (export "mta1_on_rcpt") (result i32) (i32.const 0)))

;;! == no memory (1.1)
;;! refused "memory"
(module (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == a memory that is not exported
;;! refused "memory"
(module (memory 1) (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == something else under the name of the memory
;;! refused "memory"
(module
  (memory 1)
  (global (export "memory") i32 (i32.const 0))
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == an imported memory
;;! refused "memory"
(module
  (import "env" "memory" (memory 1))
  (export "memory" (memory 0))
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == an imported table
;;! refused "table"
(module
  (import "env" "table" (table 1 funcref))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == an imported global
;;! refused "global"
(module
  (import "env" "g" (global i32))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == a hook with a parameter (2.3)
;;! refused "mta1_on_rcpt"
(module
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (param i32) (result i32) (i32.const 0)))

;;! == a hook without a result
;;! refused "mta1_on_rcpt"
(module
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt")))

;;! == mta1_init with another type
;;! refused "mta1_init"
(module (memory (export "memory") 1) (func (export "mta1_init") (result i64) (i64.const 0)))

;;! == _initialize with a result (2.2)
;;! refused "_initialize"
(module
  (memory (export "memory") 1)
  (func (export "_initialize") (result i32) (i32.const 0))
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == a hook that is a global
;;! refused "mta1_on_rcpt"
(module
  (memory (export "memory") 1)
  (global (export "mta1_on_rcpt") i32 (i32.const 0))
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == _initialize comes before mta1_init, and mta1_init before the hooks
;;! at rcpt
;;! => accept
(module
  (memory (export "memory") 1)
  (global $order (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $order (i32.add (global.get $order) (i32.const 1))))
  (func (export "mta1_init") (result i32)
    (global.set $order (i32.mul (global.get $order) (i32.const 10)))
    (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32) (i32.eq (global.get $order) (i32.const 10))))

;;! == the start function runs before both
;;! at rcpt
;;! => accept
(module
  (memory (export "memory") 1)
  (start $begin)
  (func $begin (i32.store (i32.const 0) (i32.const 7)))
  (func (export "mta1_init") (result i32) (i32.ne (i32.load (i32.const 0)) (i32.const 7)))
  (func (export "mta1_on_rcpt") (result i32) (i32.eq (i32.load (i32.const 0)) (i32.const 7))))

;;! == mta1_init that returns an error, and says why
;;! refused "7" "no list of domains"
(module
  (import "mta1" "log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "no list of domains")
  (func (export "mta1_init") (result i32)
    (drop (call $log (i32.const 3) (i32.const 16) (i32.const 18)))
    (i32.const 7)))

;;! == mta1_init that traps
;;! refused "unreachable"
(module (memory (export "memory") 1) (func (export "mta1_init") (result i32) (unreachable)))

;;! == a start function that traps
;;! refused "unreachable"
(module
  (memory (export "memory") 1)
  (start $begin)
  (func $begin (unreachable))
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == a selftest that fails (2.4)
;;! refused "mta1_on_selftest" "3"
(module
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_selftest") (result i32) (i32.const 3)))

;;! == a function that the contract does not have (9.3)
;;! refused "mta1" "list_shuffle"
(module
  (import "mta1" "list_shuffle" (func (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == a module that the contract does not have
;;! refused "mta2"
(module
  (import "mta2" "get" (func (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == a function with another type
;;! refused "get_num"
(module
  (import "mta1" "get_num" (func (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == what env has is abort alone
;;! refused "env" "print"
(module
  (import "env" "print" (func (param i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == a file system
;;! refused "path_open"
(module
  (import "wasi_snapshot_preview1" "path_open_at" (func (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func (result i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == a capability without its grant names the line to add: kv
;;! refused "mta1_kv" "kv = { mb = 16 }"
(module
  (import "mta1_kv" "get" (func (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == a capability without its grant names the line to add: dns
;;! refused "mta1_dns" "dns = { zones = [\"*\"] }"
(module
  (import "mta1_dns" "query" (func (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == a capability without its grant names the line to add: http
;;! refused "mta1_http" "http = [{ url ="
(module
  (import "mta1_http" "close" (func (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == a capability without its grant names the line to add: table
;;! refused "mta1_table" "tables = [\"name\"]"
(module
  (import "mta1_table" "lookup" (func (param i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == a capability without its grant names the line to add: event
;;! refused "mta1_event" "events = [\"topic\"]"
(module
  (import "mta1_event" "emit" (func (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == cryptography needs no grant
;;! at rcpt
;;! => continue
(module
  (import "mta1_crypto" "digest_open" (func $open (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32) (i32.ne (call $open (i32.const 2)) (i32.const 1))))

;;! == the module that is reserved
;;! refused "mta1_submit"
(module
  (import "mta1_submit" "send" (func (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == mta1_none has functions of any name and any type, which are denied (5.7)
;;! at rcpt
;;! => accept
(module
  (import "mta1_none" "anything" (func $f (param i32 i64) (result i32)))
  (import "mta1_none" "long" (func $g (result i64)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32)
    (i32.and (i32.eq (call $f (i32.const 1) (i64.const 2)) (i32.const -3)) (i64.eq (call $g) (i64.const -3)))))

;;! == a manifest that names the hooks
;;! at rcpt
;;! => accept
(module
  (@custom "mta1.manifest" "{\"name\": \"x\", \"version\": \"1\", \"abi\": \"1.0\", \"hooks\": [\"on_rcpt\"]}")
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32) (i32.const 1)))

;;! == a manifest that names other hooks
;;! refused "on_mail"
(module
  (@custom "mta1.manifest" "{\"name\": \"x\", \"hooks\": [\"on_mail\"]}")
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32) (i32.const 1)))

;;! == a manifest that is no JSON
;;! refused "mta1.manifest"
(module
  (@custom "mta1.manifest" "name = x")
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == rights are what the manifest asks for and the operator grants
;;! grant envelope=write headers=write
;;! at message
;;! => accept
(module
  (@custom "mta1.manifest" "{\"name\": \"x\", \"hooks\": [\"on_message\"], \"capabilities\": {\"headers\": \"read\"}}")
  (import "mta1" "feature" (func $feature (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_message") (result i32)
    ;; ENVELOPE_WRITE and HEADERS_WRITE were granted and not asked for.
    (i32.and
      (i32.eqz (i32.or (call $feature (i32.const 1)) (call $feature (i32.const 3))))
      (call $feature (i32.const 2)))))
