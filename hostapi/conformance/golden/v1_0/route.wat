;;! == golden 1.0: where mail goes, and when it is tried again
;;! grant envelope=write
;;! configuration {"hop": "smtp:relay.test:2525", "minutes": 10}
;;! at route one
;;! => accept
;;! edit attr message p/via: "relay"
;;! edit hops: smtp:relay.test:2525 (tls 2, helo "", source "")
;;! edit priority: 500
;;! at result
;;! => continue
;;! edit retry: 2026-01-01T00:10:00Z

(module
  (import "mta1" "config" (func $config (param $key i32) (param $klen i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1" "get_num" (func $get_num (param $field i32) (result i64)))
  (import "mta1" "set" (func $set (param $field i32) (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1" "set_num" (func $set_num (param $field i32) (param $value i64) (result i32)))
  (import "mta1" "list_len" (func $list_len (param $list i32) (result i32)))
  (import "mta1" "list_num" (func $list_num (param $list i32) (param $idx i32) (param $field i32) (result i64)))
  (import "mta1" "attr_set" (func $attr_set (param $scope i32) (param $key i32) (param $klen i32) (param $ptr i32) (param $len i32) (result i32)))
  (memory (export "memory") 1)
  (global $len (mut i32) (i32.const 0))
  (global $minutes (mut i64) (i64.const 0))
  (data (i32.const 16) "hop")
  (data (i32.const 24) "minutes")
  (data (i32.const 32) "via")
  (data (i32.const 36) "relay")
  (func $must (param $ok i32) (if (i32.eqz (local.get $ok)) (then (unreachable))))

  ;; What is read here each instance has.
  (func (export "mta1_init") (result i32)
    (local $n i32) (local $i i32)
    (global.set $len (call $config (i32.const 16) (i32.const 3) (i32.const 1024) (i32.const 256)))
    (local.set $n (call $config (i32.const 24) (i32.const 7) (i32.const 2048) (i32.const 16)))
    (if (i32.or (i32.le_s (global.get $len) (i32.const 0)) (i32.le_s (local.get $n) (i32.const 0))) (then (return (i32.const 1))))
    (loop $next
      (global.set $minutes (i64.add (i64.mul (global.get $minutes) (i64.const 10))
        (i64.sub (i64.load8_u offset=2048 (local.get $i)) (i64.const 48))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (local.get $n))))
    (i32.const 0))

  (func (export "mta1_on_route") (result i32)
    (call $must (i32.eqz (call $set (i32.const 0x060d) (i32.const 1024) (global.get $len)))) ;; TRANSPORT
    (call $must (i32.eqz (call $set_num (i32.const 0x060c) (i64.const 2)))) ;; TLS_POLICY
    (call $must (i32.eqz (call $set_num (i32.const 0x060a) (i64.const 500)))) ;; PRIORITY
    (call $must (i64.eq (call $list_num (i32.const 3) (i32.const 0) (i32.const 2)) (i64.const 2525))) ;; ROUTE, PORT
    (call $must (i32.eqz (call $attr_set (i32.const 2) (i32.const 32) (i32.const 3) (i32.const 36) (i32.const 5))))
    (i32.const 1))

  (func (export "mta1_on_result") (result i32)
    ;; One attempt before this one, that ended with 450.
    (call $must (i32.eq (call $list_len (i32.const 4)) (i32.const 1)))
    (call $must (i64.eq (call $list_num (i32.const 4) (i32.const 0) (i32.const 3)) (i64.const 450)))
    ;; Delivered.
    (call $must (i64.eq (call $list_num (i32.const 1) (i32.const 0) (i32.const 7)) (i64.const 1)))
    ;; NEXT_RETRY: the minutes after FIRST_QUEUED.
    (call $must (i32.eqz (call $set_num (i32.const 0x0608)
      (i64.add (call $get_num (i32.const 0x0604)) (i64.mul (global.get $minutes) (i64.const 60000))))))
    (i32.const 0)))
