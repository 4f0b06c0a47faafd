;;! == golden 1.0: greylisting with mta1_kv and attributes
;;! grant kv=1
;;! at rcpt
;;! => defer 451 4.7.1 Come back later
;;! at data
;;! => continue
;;! edit attr session p/grey: "1"
;;! at message
;;! => accept

;; A counter of an address; the first time it is sent away, the second is marked.
(module
  (import "mta1" "get" (func $get (param $field i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1" "reply" (func $reply (param $code i32) (param $enh i32) (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1" "attr_set" (func $attr_set (param $scope i32) (param $key i32) (param $klen i32) (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1" "attr_get" (func $attr_get (param $scope i32) (param $key i32) (param $klen i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1" "attr_del" (func $attr_del (param $scope i32) (param $key i32) (param $klen i32) (result i32)))
  (import "mta1_kv" "incr" (func $incr (param $key i32) (param $klen i32) (param $delta i64) (param $ttl i64) (param $flags i32) (result i64)))
  (import "mta1_kv" "set" (func $set (param $key i32) (param $klen i32) (param $val i32) (param $vlen i32) (param $ttl i64) (param $flags i32) (result i32)))
  (import "mta1_kv" "get" (func $kv_get (param $key i32) (param $klen i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1_kv" "cas" (func $cas (param $key i32) (param $klen i32) (param $old i32) (param $olen i32) (param $new i32) (param $nlen i32) (param $ttl i64) (result i32)))
  (import "mta1_kv" "del" (func $del (param $key i32) (param $klen i32) (result i32)))
  (import "mta1_kv" "take" (func $take (param $key i32) (param $klen i32) (param $cost i32) (param $burst i32) (param $rate i64) (result i64)))
  (memory (export "memory") 1)
  (data (i32.const 16) "Come back later")
  (data (i32.const 32) "grey")
  (data (i32.const 40) "1")
  (data (i32.const 48) "seen")
  (func (export "mta1_init") (result i32) (i32.const 0))

  ;; count is how often REMOTE_IP was here, with this time.
  (func $count (result i64)
    (local $len i32)
    (local.set $len (call $get (i32.const 0x0101) (i32.const 1024) (i32.const 64)))
    (call $incr (i32.const 1024) (local.get $len) (i64.const 1) (i64.const 3600000) (i32.const 0)))

  (func (export "mta1_on_rcpt") (result i32)
    (if (i64.gt_s (call $count) (i64.const 1)) (then (return (i32.const 0))))
    (drop (call $reply (i32.const 451) (i32.const 0) (i32.const 16) (i32.const 15)))
    (i32.const 3)) ;; DEFER

  (func (export "mta1_on_data") (result i32)
    (if (i64.ne (call $count) (i64.const 2)) (then (unreachable)))
    (if (call $attr_set (i32.const 0) (i32.const 32) (i32.const 4) (i32.const 40) (i32.const 1)) (then (unreachable)))
    (i32.const 0))

  (func (export "mta1_on_message") (result i32)
    ;; The mark is there, and the store does what it should.
    (if (i32.ne (call $attr_get (i32.const 0) (i32.const 32) (i32.const 4) (i32.const 1024) (i32.const 1)) (i32.const 1)) (then (unreachable)))
    (if (i32.ne (call $attr_del (i32.const 1) (i32.const 32) (i32.const 4)) (i32.const -2)) (then (unreachable)))
    (if (call $set (i32.const 48) (i32.const 4) (i32.const 40) (i32.const 1) (i64.const 0) (i32.const 1)) (then (unreachable)))
    (if (i32.ne (call $kv_get (i32.const 48) (i32.const 4) (i32.const 1024) (i32.const 8)) (i32.const 1)) (then (unreachable)))
    (if (call $cas (i32.const 48) (i32.const 4) (i32.const 40) (i32.const 1) (i32.const 32) (i32.const 4) (i64.const 0)) (then (unreachable)))
    (if (call $del (i32.const 48) (i32.const 4)) (then (unreachable)))
    (if (i64.ne (call $take (i32.const 48) (i32.const 4) (i32.const 1) (i32.const 1) (i64.const 1000)) (i64.const 0)) (then (unreachable)))
    (i32.const 1)))
