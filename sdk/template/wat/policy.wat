;; Refuses recipients at one domain: "domain" of [plugin.config].
;;
;; A plugin is a module that exports its memory, mta1_init, and a function for
;; each hook that it wants to be asked at. The functions that it imports take
;; octets as (ptr, len) and return some in (buf, cap): the result is the full
;; length, or an error below zero. The contract, hostapi/abi/README.md, has the
;; numbers.

(module
  (import "mta1" "config"   (func $config   (param $key i32) (param $klen i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1" "get_num"  (func $get_num  (param $field i32) (result i64)))
  (import "mta1" "list_get" (func $list_get (param $list i32) (param $idx i32) (param $field i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1" "reply"    (func $reply    (param $code i32) (param $enh i32) (param $ptr i32) (param $len i32) (result i32)))

  ;;     16  texts
  ;;   1024  the domain of the configuration, $len octets
  ;;   2048  the domain of the recipient
  (memory (export "memory") 1)
  (global $len (mut i32) (i32.const 0))
  (data (i32.const 16) "domain")
  (data (i32.const 32) "this domain takes no mail")

  ;; Called once, before any hook. What it leaves in memory and globals is what
  ;; each session begins with. 0 is success.
  (func (export "mta1_init") (result i32)
    (global.set $len (call $config (i32.const 16) (i32.const 6) (i32.const 1024) (i32.const 255)))
    (if (i32.gt_u (global.get $len) (i32.const 255)) ;; too long, or an error: there is none
      (then (global.set $len (i32.const 0))))
    (i32.const 0))

  ;; Asked at each RCPT TO. The result is the verdict.
  (func (export "mta1_on_rcpt") (result i32)
    (local $i i32)
    ;; List 1 are the recipients, field 0x040a is the index of the current one,
    ;; and its field 5 is the domain in lower case.
    (if (i32.ne
          (call $list_get (i32.const 1) (i32.wrap_i64 (call $get_num (i32.const 0x040a))) (i32.const 5) (i32.const 2048) (i32.const 255))
          (global.get $len))
      (then (return (i32.const 0))))
    (block $same
      (loop $next
        (br_if $same (i32.eq (local.get $i) (global.get $len)))
        (if (i32.ne
              (i32.load8_u offset=1024 (local.get $i))
              (i32.load8_u offset=2048 (local.get $i)))
          (then (return (i32.const 0)))) ;; CONTINUE: the server's own rules decide
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (if (i32.eqz (global.get $len))
      (then (return (i32.const 0))))
    ;; An enhanced code is class<<20 | subject<<10 | detail: 5.7.1.
    (drop (call $reply (i32.const 550) (i32.const 0x501c01) (i32.const 32) (i32.const 25)))
    (i32.const 2))) ;; REJECT
