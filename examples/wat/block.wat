;; block: recipients that take no mail.
;;
;;   [plugin.config]
;;   blocked = ["blocked", "spam.test"]      # local parts and domains
;;
;; A plugin is a module that exports its memory, mta1_init, and a function for
;; each hook that it wants to be asked at. The numbers below are those of
;; hostapi/abi/README.md, whose sections the comments name.

(module
  ;; Section 5: what the host offers. Octets go in as (ptr, len) and come out
  ;; into (buf, cap); the result is the full length, or an error below zero. If
  ;; the length is larger than cap, nothing was written.
  (import "mta1" "config"   (func $config   (param $key i32) (param $klen i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1" "get_num"  (func $get_num  (param $field i32) (result i64)))
  (import "mta1" "list_get" (func $list_get (param $list i32) (param $idx i32) (param $field i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1" "reply"    (func $reply    (param $code i32) (param $enh i32) (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1" "log"      (func $log      (param $level i32) (param $ptr i32) (param $len i32) (result i32)))

  ;; One page of 64 KiB:
  ;;     16  texts
  ;;   1024  local part or domain of the recipient, at most 1024 octets
  ;;   2048  the list as the configuration has it, at most 32 KiB; zeros follow
  (memory (export "memory") 1 1)
  (data (i32.const 16) "blocked")
  (data (i32.const 32) "this mailbox takes no mail")
  (data (i32.const 64) "blocked must be a list of strings, without backslashes")

  ;; Section 2: called once, before any hook. 0 is success; anything else
  ;; refuses the plugin and leaves the one before it in force.
  (func (export "mta1_init") (result i32)
    (local $len i32)
    ;; A list comes as compact JSON: ["blocked","spam.test"].
    (local.set $len
      (call $config (i32.const 16) (i32.const 7) (i32.const 2048) (i32.const 32768)))
    ;; E_NOT_FOUND: there is no such key, so nobody is blocked.
    (if (i32.eq (local.get $len) (i32.const -2))
      (then (return (i32.const 0))))
    (if (i32.lt_s (local.get $len) (i32.const 0))
      (then (return (local.get $len))))
    ;; It did not fit: E_TOO_LARGE.
    (if (i32.gt_s (local.get $len) (i32.const 32768))
      (then (return (i32.const -10))))
    (if (i32.eqz (call $is_list))
      (then
        (drop (call $log (i32.const 3) (i32.const 64) (i32.const 54))) ;; 3: error
        (return (i32.const -1)))) ;; E_INVAL
    (i32.const 0))

  ;; Section 3: asked at each RCPT TO.
  (func (export "mta1_on_rcpt") (result i32)
    (local $current i32)
    ;; Section 6: the field CUR_RCPT is the recipient's index in the list RCPT.
    (local.set $current (i32.wrap_i64 (call $get_num (i32.const 0x040a))))
    (if (i32.or
          (call $has (local.get $current) (i32.const 4))  ;; LOCAL, without quotes
          (call $has (local.get $current) (i32.const 5))) ;; DOMAIN, in lower case
      (then
        ;; Section 4: enhanced codes are class<<20 | subject<<10 | detail. The
        ;; host puts the reply to the verdict of this call.
        (drop (call $reply
          (i32.const 550)
          (i32.const 0x501c01) ;; 5.7.1: 5<<20 | 7<<10 | 1
          (i32.const 32) (i32.const 26)))
        (return (i32.const 2)))) ;; REJECT
    ;; CONTINUE: no opinion. The next plugin is asked, and at last the server's
    ;; own rules decide.
    (i32.const 0))

  ;; has tells whether a field of the recipient stands in the list.
  (func $has (param $idx i32) (param $field i32) (result i32)
    (local $len i32)
    (local.set $len
      (call $list_get (i32.const 1) (local.get $idx) (local.get $field) (i32.const 1024) (i32.const 1024))) ;; 1: RCPT
    ;; Not there, or longer than any address.
    (if (i32.gt_u (local.get $len) (i32.const 1024))
      (then (return (i32.const 0))))
    (call $listed (local.get $len)))

  ;; listed tells whether the $len octets at 1024 are an element of the list.
  (func $listed (param $len i32) (result i32)
    (local $p i32) (local $start i32)
    (local.set $p (i32.const 2049)) ;; behind the bracket
    (loop $element
      ;; No quote: the list is empty, or there is none.
      (if (i32.ne (i32.load8_u (local.get $p)) (i32.const 0x22))
        (then (return (i32.const 0))))
      (local.set $p (i32.add (local.get $p) (i32.const 1)))
      (local.set $start (local.get $p))
      (block $end
        (loop $char
          (br_if $end (i32.eq (i32.load8_u (local.get $p)) (i32.const 0x22)))
          (local.set $p (i32.add (local.get $p) (i32.const 1)))
          (br $char)))
      (if (i32.eq (i32.sub (local.get $p) (local.get $start)) (local.get $len))
        (then
          (if (call $same (local.get $start) (i32.const 1024) (local.get $len))
            (then (return (i32.const 1))))))
      (local.set $p (i32.add (local.get $p) (i32.const 2))) ;; over quote and comma
      (br_if $element
        (i32.eq (i32.load8_u (i32.sub (local.get $p) (i32.const 1))) (i32.const 0x2c))))
    (i32.const 0))

  ;; is_list tells whether the JSON at 2048 is a list of strings that stand for
  ;; themselves. It is known to be JSON, so only what else it could be matters.
  (func $is_list (result i32)
    (local $p i32) (local $c i32)
    (local.set $p (i32.const 2048))
    (if (i32.ne (i32.load8_u (local.get $p)) (i32.const 0x5b)) ;; [
      (then (return (i32.const 0))))
    (local.set $p (i32.const 2049))
    (if (i32.eq (i32.load8_u (local.get $p)) (i32.const 0x5d)) ;; ]
      (then (return (i32.const 1))))
    (loop $element
      (if (i32.ne (i32.load8_u (local.get $p)) (i32.const 0x22)) ;; "
        (then (return (i32.const 0))))
      (loop $char
        (local.set $p (i32.add (local.get $p) (i32.const 1)))
        (local.set $c (i32.load8_u (local.get $p)))
        (if (i32.or
              (i32.eqz (local.get $c))                       ;; behind the end: not JSON after all
              (i32.eq (local.get $c) (i32.const 0x5c)))      ;; a backslash
          (then (return (i32.const 0))))
        (br_if $char (i32.ne (local.get $c) (i32.const 0x22))))
      (local.set $p (i32.add (local.get $p) (i32.const 2)))
      (br_if $element
        (i32.eq (i32.load8_u (i32.sub (local.get $p) (i32.const 1))) (i32.const 0x2c)))) ;; ,
    (i32.eq (i32.load8_u (i32.sub (local.get $p) (i32.const 1))) (i32.const 0x5d)))

  ;; same compares $len octets.
  (func $same (param $a i32) (param $b i32) (param $len i32) (result i32)
    (block $differ
      (loop $next
        (if (i32.eqz (local.get $len))
          (then (return (i32.const 1))))
        (br_if $differ
          (i32.ne (i32.load8_u (local.get $a)) (i32.load8_u (local.get $b))))
        (local.set $a (i32.add (local.get $a) (i32.const 1)))
        (local.set $b (i32.add (local.get $b) (i32.const 1)))
        (local.set $len (i32.sub (local.get $len) (i32.const 1)))
        (br $next)))
    (i32.const 0)))
