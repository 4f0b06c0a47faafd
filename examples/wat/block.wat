;; block: recipients that take no mail.
;;
;;   [plugin.config]
;;   blocked = ["blocked", "spam.test"]      # local parts and domains
;;
;; A plugin is a module that exports its memory, mta1_init, and a function for
;; each hook that it wants to be asked at. The numbers below are those of
;; hostapi/abi/README.md, whose sections the comments name. route.wat and
;; headers.wat are shorter: half of this file reads JSON.

(module
  ;; Section 5: what the host offers. Octets go in as (ptr, len) and come out
  ;; into (buf, cap); the result is the full length, or an error below zero. If
  ;; the length is larger than cap, nothing was written.
  (import "mta1" "config"   (func $config   (param $key i32) (param $klen i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1" "get_num"  (func $get_num  (param $field i32) (result i64)))
  (import "mta1" "list_get" (func $list_get (param $list i32) (param $idx i32) (param $field i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1" "reply"    (func $reply    (param $code i32) (param $enh i32) (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1" "log"      (func $log      (param $level i32) (param $ptr i32) (param $len i32) (result i32)))

  ;; The memory:
  ;;     16  texts
  ;;   1024  local part or domain of the recipient, at most 1024 octets
  ;;   2048  the list, up to $end. Each element ends with 0xff, which is no octet
  ;;         of any text in UTF-8.
  ;; A fresh memory is zero. What mta1_init leaves in memory and globals is what
  ;; each session begins with.
  (memory (export "memory") 1)
  (global $end (mut i32) (i32.const 2048))
  (data (i32.const 16) "blocked")
  (data (i32.const 32) "this mailbox takes no mail")
  (data (i32.const 64) "config: blocked must be a list of strings")

  ;; Section 2: called once, before any hook. 0 is success; anything else
  ;; refuses the plugin and leaves the one before it in force.
  (func (export "mta1_init") (result i32)
    (local $len i32)
    ;; A list comes as compact JSON: ["blocked","spam.test"]. A cap of 0 asks for
    ;; its length.
    (local.set $len (call $config (i32.const 16) (i32.const 7) (i32.const 0) (i32.const 0)))
    ;; E_NOT_FOUND: there is no such key, so nobody is blocked.
    (if (i32.eq (local.get $len) (i32.const -2))
      (then (return (i32.const 0))))
    (if (i32.lt_s (local.get $len) (i32.const 0))
      (then (return (local.get $len))))
    ;; One more page than the list takes, so that zeros follow it.
    (if (i32.eq
          (memory.grow (i32.add (i32.shr_u (local.get $len) (i32.const 16)) (i32.const 1)))
          (i32.const -1))
      (then (return (i32.const -10)))) ;; E_TOO_LARGE
    (drop (call $config (i32.const 16) (i32.const 7) (i32.const 2048) (local.get $len)))
    (if (i32.eqz (call $read_list (local.get $len)))
      (then
        (drop (call $log (i32.const 3) (i32.const 64) (i32.const 41))) ;; 3: error
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
        ;; Section 4: the reply of this call's verdict. Enhanced codes are
        ;; class<<20 | subject<<10 | detail.
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
    ;; As unsigned numbers, errors are larger than any length.
    (if (i32.gt_u (local.get $len) (i32.const 1024))
      (then (return (i32.const 0))))
    (call $listed (local.get $len)))

  ;; listed tells whether the $len octets at 1024 are an element of the list.
  (func $listed (param $len i32) (result i32)
    (local $p i32) (local $n i32)
    (local.set $p (i32.const 2048))
    (block $none
      (loop $element
        (br_if $none (i32.eq (local.get $p) (global.get $end)))
        (local.set $n (i32.const 0))
        ;; Count the octets that agree from the beginning.
        (block $differ
          (loop $next
            (br_if $differ (i32.eq (local.get $n) (local.get $len)))
            (br_if $differ
              (i32.ne
                (i32.load8_u (i32.add (local.get $p) (local.get $n)))
                (i32.load8_u offset=1024 (local.get $n))))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br $next)))
        ;; All, and the element ends there?
        (if (i32.eq (local.get $n) (local.get $len))
          (then
            (if (i32.eq (i32.load8_u (i32.add (local.get $p) (local.get $n))) (i32.const 0xff))
              (then (return (i32.const 1))))))
        ;; Go behind its end.
        (loop $skip
          (local.set $p (i32.add (local.get $p) (i32.const 1)))
          (br_if $skip
            (i32.ne (i32.load8_u (i32.sub (local.get $p) (i32.const 1))) (i32.const 0xff))))
        (br $element)))
    (i32.const 0))

  ;; read_list turns the $len octets of JSON at 2048 into the list, in the same
  ;; place: what is read is never shorter than what is written. The result is 0
  ;; if it is not a list of strings. The zeros behind it end every loop.
  (func $read_list (param $len i32) (result i32)
    (local $in i32) (local $out i32) (local $c i32) (local $low i32)
    (local.set $in (i32.const 2049))
    (local.set $out (i32.const 2048))
    (if (i32.ne (i32.load8_u (i32.const 2048)) (i32.const 0x5b)) ;; [
      (then (return (i32.const 0))))
    (if (i32.eq (i32.load16_u (i32.const 2048)) (i32.const 0x5d5b)) ;; []
      (then (return (i32.eq (local.get $len) (i32.const 2)))))
    (loop $element
      (if (i32.ne (i32.load8_u (local.get $in)) (i32.const 0x22)) ;; "
        (then (return (i32.const 0))))
      (local.set $in (i32.add (local.get $in) (i32.const 1)))
      (block $closed
        (loop $next
          (local.set $c (i32.load8_u (local.get $in)))
          (local.set $in (i32.add (local.get $in) (i32.const 1)))
          (br_if $closed (i32.eq (local.get $c) (i32.const 0x22)))
          ;; A control character, or the end.
          (if (i32.lt_u (local.get $c) (i32.const 0x20))
            (then (return (i32.const 0))))
          (if (i32.eq (local.get $c) (i32.const 0x5c)) ;; a backslash
            (then
              (local.set $c (i32.load8_u (local.get $in)))
              (local.set $in (i32.add (local.get $in) (i32.const 1)))
              (if (i32.eq (local.get $c) (i32.const 0x75)) ;; \u and four digits
                (then
                  (local.set $c (call $hex (local.get $in)))
                  (if (i32.lt_s (local.get $c) (i32.const 0))
                    (then (return (i32.const 0))))
                  (local.set $in (i32.add (local.get $in) (i32.const 4)))
                  ;; The first half of a pair, and the second: beyond 0xffff.
                  (if (i32.and
                        (i32.eq (i32.and (local.get $c) (i32.const 0xfc00)) (i32.const 0xd800))
                        (i32.eq (i32.load16_u (local.get $in)) (i32.const 0x755c))) ;; \u
                    (then
                      (local.set $low (call $hex (i32.add (local.get $in) (i32.const 2))))
                      (if (i32.eq (i32.and (local.get $low) (i32.const 0xfffffc00)) (i32.const 0xdc00))
                        (then
                          (local.set $in (i32.add (local.get $in) (i32.const 6)))
                          (local.set $c
                            (i32.add
                              (i32.const 0x10000)
                              (i32.or
                                (i32.shl (i32.and (local.get $c) (i32.const 0x3ff)) (i32.const 10))
                                (i32.and (local.get $low) (i32.const 0x3ff)))))))))
                  ;; Half a pair alone is no character.
                  (if (i32.eq (i32.and (local.get $c) (i32.const 0xfffff800)) (i32.const 0xd800))
                    (then (local.set $c (i32.const 0xfffd))))
                  (local.set $out (call $put (local.get $out) (local.get $c)))
                  (br $next)))
              (local.set $c (call $escape (local.get $c)))
              (if (i32.eqz (local.get $c))
                (then (return (i32.const 0))))))
          (i32.store8 (local.get $out) (local.get $c))
          (local.set $out (i32.add (local.get $out) (i32.const 1)))
          (br $next)))
      (i32.store8 (local.get $out) (i32.const 0xff))
      (local.set $out (i32.add (local.get $out) (i32.const 1)))
      (local.set $c (i32.load8_u (local.get $in)))
      (local.set $in (i32.add (local.get $in) (i32.const 1)))
      (br_if $element (i32.eq (local.get $c) (i32.const 0x2c)))) ;; ,
    (global.set $end (local.get $out))
    (i32.and
      (i32.eq (local.get $c) (i32.const 0x5d)) ;; ]
      (i32.eq (i32.sub (local.get $in) (i32.const 2048)) (local.get $len))))

  ;; escape is what a letter behind a backslash stands for; 0: nothing.
  (func $escape (param $c i32) (result i32)
    (if (i32.or
          (i32.eq (local.get $c) (i32.const 0x22))      ;; "
          (i32.or
            (i32.eq (local.get $c) (i32.const 0x5c))    ;; \
            (i32.eq (local.get $c) (i32.const 0x2f))))  ;; /
      (then (return (local.get $c))))
    (if (i32.eq (local.get $c) (i32.const 0x62)) (then (return (i32.const 0x08)))) ;; b
    (if (i32.eq (local.get $c) (i32.const 0x66)) (then (return (i32.const 0x0c)))) ;; f
    (if (i32.eq (local.get $c) (i32.const 0x6e)) (then (return (i32.const 0x0a)))) ;; n
    (if (i32.eq (local.get $c) (i32.const 0x72)) (then (return (i32.const 0x0d)))) ;; r
    (if (i32.eq (local.get $c) (i32.const 0x74)) (then (return (i32.const 0x09)))) ;; t
    (i32.const 0))

  ;; hex is the number that four digits at $p are; -1: they are none.
  (func $hex (param $p i32) (result i32)
    (local $n i32) (local $c i32) (local $v i32)
    (loop $digit
      (local.set $c (i32.load8_u (i32.add (local.get $p) (local.get $n))))
      (if (i32.lt_u (i32.sub (local.get $c) (i32.const 0x30)) (i32.const 10))
        (then (local.set $c (i32.sub (local.get $c) (i32.const 0x30))))
        (else
          ;; With the bit 0x20 a letter is small.
          (local.set $c (i32.sub (i32.or (local.get $c) (i32.const 0x20)) (i32.const 0x61)))
          (if (i32.ge_u (local.get $c) (i32.const 6))
            (then (return (i32.const -1))))
          (local.set $c (i32.add (local.get $c) (i32.const 10)))))
      (local.set $v (i32.or (i32.shl (local.get $v) (i32.const 4)) (local.get $c)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $digit (i32.lt_u (local.get $n) (i32.const 4))))
    (local.get $v))

  ;; put writes a character in UTF-8 and returns the place behind it.
  (func $put (param $out i32) (param $c i32) (result i32)
    (if (i32.lt_u (local.get $c) (i32.const 0x80))
      (then
        (i32.store8 (local.get $out) (local.get $c))
        (return (i32.add (local.get $out) (i32.const 1)))))
    (if (i32.lt_u (local.get $c) (i32.const 0x800))
      (then
        (i32.store8 (local.get $out)
          (i32.or (i32.const 0xc0) (i32.shr_u (local.get $c) (i32.const 6)))))
      (else
        (if (i32.lt_u (local.get $c) (i32.const 0x10000))
          (then
            (i32.store8 (local.get $out)
              (i32.or (i32.const 0xe0) (i32.shr_u (local.get $c) (i32.const 12)))))
          (else
            (i32.store8 (local.get $out)
              (i32.or (i32.const 0xf0) (i32.shr_u (local.get $c) (i32.const 18))))
            (local.set $out (call $rest (local.get $out) (i32.shr_u (local.get $c) (i32.const 12))))))
        (local.set $out (call $rest (local.get $out) (i32.shr_u (local.get $c) (i32.const 6))))))
    (i32.add (call $rest (local.get $out) (local.get $c)) (i32.const 1)))

  ;; rest writes six bits behind $out and returns their place.
  (func $rest (param $out i32) (param $c i32) (result i32)
    (i32.store8 offset=1 (local.get $out)
      (i32.or (i32.const 0x80) (i32.and (local.get $c) (i32.const 0x3f))))
    (i32.add (local.get $out) (i32.const 1))))
