;;! == golden 1.0: aliases from a table, and an envelope that is rewritten
;;! grant envelope=write tables=users
;;! at rcpt
;;! => continue
;;! edit mail_from: bounce@new.test
;;! edit rcpt: ann@example.com, "b b"@Example.NET for bob@example.net, local@new.test for carl@example.com
;;! at message
;;! => accept
;;! edit rcpt: "b b"@Example.NET for bob@example.net, local@new.test for carl@example.com, copy@new.test

(module
  (import "mta1" "get_num" (func $get_num (param $field i32) (result i64)))
  (import "mta1" "set" (func $set (param $field i32) (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1" "list_len" (func $list_len (param $list i32) (result i32)))
  (import "mta1" "list_get" (func $list_get (param $list i32) (param $idx i32) (param $field i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1" "list_num" (func $list_num (param $list i32) (param $idx i32) (param $field i32) (result i64)))
  (import "mta1" "list_set" (func $list_set (param $list i32) (param $idx i32) (param $field i32) (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1" "list_insert" (func $list_insert (param $list i32) (param $idx i32) (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1" "list_remove" (func $list_remove (param $list i32) (param $idx i32) (result i32)))
  (import "mta1" "list_find" (func $list_find (param $list i32) (param $from i32) (param $key i32) (param $klen i32) (result i32)))
  (import "mta1_table" "lookup" (func $lookup (param $table i32) (param $tlen i32) (param $key i32) (param $klen i32) (param $buf i32) (param $cap i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "users")
  (data (i32.const 32) "bob@example.org")
  (data (i32.const 48) "bounce@new.test")
  (data (i32.const 64) "copy@new.test")
  (data (i32.const 80) "ANN@EXAMPLE.COM")
  (data (i32.const 96) "@new.test")
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func $must (param $ok i32) (if (i32.eqz (local.get $ok)) (then (unreachable))))

  (func (export "mta1_on_rcpt") (result i32)
    (local $current i32) (local $n i32)
    (local.set $current (i32.wrap_i64 (call $get_num (i32.const 0x040a)))) ;; CUR_RCPT
    (call $must (i32.eq (local.get $current) (i32.const 2)))
    ;; "local" and "@new.test" are the new address.
    (local.set $n (call $lookup (i32.const 16) (i32.const 5) (i32.const 32) (i32.const 15) (i32.const 1024) (i32.const 64)))
    (memory.copy (i32.add (i32.const 1024) (local.get $n)) (i32.const 96) (i32.const 9))
    (call $must (i32.eqz (call $list_set (i32.const 1) (local.get $current) (i32.const 1) (i32.const 1024) (i32.add (local.get $n) (i32.const 9)))))
    (call $must (i32.eqz (call $set (i32.const 0x0402) (i32.const 48) (i32.const 15))))
    (i32.const 0))

  (func (export "mta1_on_message") (result i32)
    ;; ORIGINAL of the one that was rewritten: carl@example.com.
    (call $must (i32.eq (call $list_get (i32.const 1) (i32.const 2) (i32.const 6) (i32.const 1024) (i32.const 64)) (i32.const 16)))
    (call $must (i64.eq (call $list_num (i32.const 1) (i32.const 0) (i32.const 3)) (i64.const 6))) ;; NOTIFY
    (call $must (i32.eqz (call $list_remove (i32.const 1) (call $list_find (i32.const 1) (i32.const 0) (i32.const 80) (i32.const 15)))))
    (call $must (i32.eqz (call $list_insert (i32.const 1) (i32.const -1) (i32.const 64) (i32.const 13))))
    (call $must (i32.eq (call $list_len (i32.const 1)) (i32.const 3)))
    (i32.const 1)))
