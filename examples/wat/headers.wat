;; headers: what a list does to the header section of a message. It needs
;;
;;   [plugin.grant]
;;   headers = "write"
;;
;; block.wat says what the parts of a plugin are.

(module
  (import "mta1" "list_find"   (func $list_find   (param $list i32) (param $from i32) (param $key i32) (param $klen i32) (result i32)))
  (import "mta1" "list_get"    (func $list_get    (param $list i32) (param $idx i32) (param $field i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1" "list_set"    (func $list_set    (param $list i32) (param $idx i32) (param $field i32) (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1" "list_insert" (func $list_insert (param $list i32) (param $idx i32) (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1" "list_remove" (func $list_remove (param $list i32) (param $idx i32) (result i32)))

  ;; The memory:
  ;;     16  texts
  ;;   1024  "[list] ", and behind it, at 1031, the Subject
  (memory (export "memory") 1)
  (data (i32.const 16) "X-Spam-Flag")
  (data (i32.const 32) "Subject: [list] ")
  (data (i32.const 64) "X-Policy: checked by wasmta")
  (data (i32.const 1024) "[list] ")

  ;; There is nothing to configure.
  (func (export "mta1_init") (result i32) (i32.const 0))

  ;; Asked when the content is complete. Section 6: 2 is the list HEADER, and 2
  ;; the field VALUE of its elements.
  (func (export "mta1_on_message") (result i32)
    ;; Nobody outside says what is spam here.
    (call $remove (i32.const 0) (i32.const 16) (i32.const 11))

    (call $tag_subject)

    ;; An index of 0 is the top. The host folds what is long.
    (call $must (call $list_insert (i32.const 2) (i32.const 0) (i32.const 64) (i32.const 27)))

    ;; CONTINUE. The changes of this call count with CONTINUE and ACCEPT only.
    (i32.const 0))

  ;; tag_subject puts the name of the list in front of the Subject.
  (func $tag_subject
    (local $i i32) (local $len i32)
    (local.set $i (call $list_find (i32.const 2) (i32.const 0) (i32.const 32) (i32.const 7)))
    ;; E_NOT_FOUND: a Subject of the list alone. An index of -1 is the end.
    (if (i32.eq (local.get $i) (i32.const -2))
      (then
        (call $must (call $list_insert (i32.const 2) (i32.const -1) (i32.const 32) (i32.const 16)))
        (return)))
    (call $must (local.get $i))

    ;; A cap of 0 asks for the length. Then there is room for it, unless it is
    ;; too long for the memory that a plugin gets.
    (local.set $len
      (call $list_get (i32.const 2) (local.get $i) (i32.const 2) (i32.const 0) (i32.const 0)))
    (call $must (local.get $len))
    (block $fits
      (loop $grow
        (br_if $fits
          (i32.le_u
            (i32.add (i32.const 1031) (local.get $len))
            (i32.shl (memory.size) (i32.const 16))))
        (call $must (memory.grow (i32.const 1)))
        (br $grow)))
    (call $must
      (call $list_get (i32.const 2) (local.get $i) (i32.const 2) (i32.const 1031) (local.get $len)))

    (if (call $is_tagged (local.get $len))
      (then (return)))
    (call $must
      (call $list_set (i32.const 2) (local.get $i) (i32.const 2)
        (i32.const 1024) (i32.add (local.get $len) (i32.const 7))))
    ;; There is to be one Subject only.
    (call $remove (i32.add (local.get $i) (i32.const 1)) (i32.const 32) (i32.const 7)))

  ;; is_tagged compares the first seven octets of the Subject.
  (func $is_tagged (param $len i32) (result i32)
    (local $n i32)
    (if (i32.lt_u (local.get $len) (i32.const 7))
      (then (return (i32.const 0))))
    (loop $next
      (if (i32.ne
            (i32.load8_u offset=1024 (local.get $n))
            (i32.load8_u offset=1031 (local.get $n)))
        (then (return (i32.const 0))))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (i32.const 7))))
    (i32.const 1))

  ;; remove removes the fields of a name, from an index on. What follows a removed
  ;; field moves up into its place.
  (func $remove (param $i i32) (param $name i32) (param $len i32)
    (block $none
      (loop $next
        (local.set $i (call $list_find (i32.const 2) (local.get $i) (local.get $name) (local.get $len)))
        (br_if $none (i32.eq (local.get $i) (i32.const -2))) ;; E_NOT_FOUND
        (call $must (local.get $i))
        (call $must (call $list_remove (i32.const 2) (local.get $i)))
        (br $next))))

  ;; must makes an error a failure of the plugin. It costs this instance and
  ;; nothing else; on_error of the configuration is the verdict then.
  (func $must (param $result i32)
    (if (i32.lt_s (local.get $result) (i32.const 0))
      (then (unreachable)))))
