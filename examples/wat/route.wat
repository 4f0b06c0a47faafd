;; route: mail for one domain goes its own way. It needs
;;
;;   [plugin.grant]
;;   envelope = "write"
;;
;;   [plugin.config]
;;   partner = "partner.test"
;;   next_hop = "smtp:127.0.0.1:2526"        # as the configuration writes it
;;
;; block.wat says what the parts of a plugin are.

(module
  (import "mta1" "config" (func $config (param $key i32) (param $klen i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1" "get"    (func $get    (param $field i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1" "set"    (func $set    (param $field i32) (param $ptr i32) (param $len i32) (result i32)))

  ;; One page of 64 KiB:
  ;;     16  texts
  ;;   1024  partner     2048  next_hop     3072  the domain that is due
  ;; each at most 1024 octets.
  (memory (export "memory") 1 1)
  (data (i32.const 16) "partner")
  (data (i32.const 32) "next_hop")

  ;; What mta1_init leaves in memory and globals is what each session and each
  ;; delivery begins with.
  (global $partner_len (mut i32) (i32.const 0))
  (global $hop_len (mut i32) (i32.const 0))

  (func (export "mta1_init") (result i32)
    ;; A string comes as its text. A length that is an error, or larger than 1024,
    ;; is that of no domain, so that the plugin has no opinion.
    (global.set $partner_len
      (call $config (i32.const 16) (i32.const 7) (i32.const 1024) (i32.const 1024)))
    (global.set $hop_len
      (call $config (i32.const 32) (i32.const 8) (i32.const 2048) (i32.const 1024)))
    (i32.const 0))

  ;; Asked when recipients of one domain are due and nobody has said yet where
  ;; they go.
  (func (export "mta1_on_route") (result i32)
    (local $len i32)
    (local.set $len (call $get (i32.const 0x0602) (i32.const 3072) (i32.const 1024))) ;; DOMAIN
    (if (i32.ne (local.get $len) (global.get $partner_len))
      (then (return (i32.const 0)))) ;; CONTINUE: the routes of the server decide
    (loop $next
      (if (local.get $len)
        (then
          (local.set $len (i32.sub (local.get $len) (i32.const 1)))
          (br_if $next
            (i32.eq
              (i32.load8_u offset=1024 (local.get $len))
              (i32.load8_u offset=3072 (local.get $len))))
          (return (i32.const 0))))) ;; another domain

    ;; TRANSPORT is the next hop. An error, such as E_DENIED or E_INVAL, is made
    ;; a failure of the plugin: the message waits and does not stray.
    (if (i32.gt_u (global.get $hop_len) (i32.const 1024))
      (then (unreachable)))
    (if (i32.lt_s
          (call $set (i32.const 0x060d) (i32.const 2048) (global.get $hop_len))
          (i32.const 0))
      (then (unreachable)))
    (i32.const 1))) ;; ACCEPT: this is decided
