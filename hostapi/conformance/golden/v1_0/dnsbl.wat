;;! == golden 1.0: a DNS list, and the MX of a domain
;;! grant dns=list.test,a.test
;;! at connect
;;! => drop 554 5.7.1 listed
;;! at mail
;;! => accept

(module
  (import "mta1" "get_num" (func $get_num (param $field i32) (result i64)))
  (import "mta1" "reply" (func $reply (param $code i32) (param $enh i32) (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1_dns" "prefetch" (func $prefetch (param $type i32) (param $name i32) (param $nlen i32) (result i32)))
  (import "mta1_dns" "query" (func $query (param $type i32) (param $name i32) (param $nlen i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1_dns" "dnsbl" (func $dnsbl (param $zone i32) (param $zlen i32) (param $ip i32) (param $iplen i32) (param $out4 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "list.test")
  (data (i32.const 32) "127.0.0.2")
  (data (i32.const 48) "a.test")
  (data (i32.const 64) "listed")
  (func (export "mta1_init") (result i32) (i32.const 0))

  (func (export "mta1_on_connect") (result i32)
    (drop (call $prefetch (i32.const 15) (i32.const 48) (i32.const 6)))
    (if (i32.ne (call $dnsbl (i32.const 16) (i32.const 9) (i32.const 32) (i32.const 9) (i32.const 1024)) (i32.const 1))
      (then (return (i32.const 0))))
    ;; Of several answers the lowest: 127.0.0.2.
    (if (i32.ne (i32.load (i32.const 1024)) (i32.const 0x0200007f)) (then (unreachable)))
    (drop (call $reply (i32.const 554) (i32.const 0) (i32.const 64) (i32.const 6)))
    (i32.const 6)) ;; DROP

  (func (export "mta1_on_mail") (result i32)
    (if (i32.ne (call $query (i32.const 15) (i32.const 48) (i32.const 6) (i32.const 1024) (i32.const 64)) (i32.const 16)) (then (unreachable)))
    ;; One record: its length, then "10 mx.a.test".
    (if (i64.ne (i64.load (i32.const 1024)) (i64.const 0x6d2030310000000c)) (then (unreachable)))
    ;; DNS_TTL is 60 seconds, DNS_AD 0.
    (if (i64.ne (call $get_num (i32.const 0x0709)) (i64.const 60)) (then (unreachable)))
    (if (i64.ne (call $get_num (i32.const 0x070a)) (i64.const 0)) (then (unreachable)))
    (i32.const 1)))
