;;! == golden 1.0: a message that a web service judges
;;! grant http=POST,GET@https://api.test/ headers=read body=read
;;! at message
;;! => reject 550 5.7.1 POST  message/rf
;;! at rcpt
;;! => accept

(module
  (import "mta1" "reply" (func $reply (param $code i32) (param $enh i32) (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1_http" "start" (func $start (param $method i32) (param $url i32) (param $ulen i32) (param $hdr i32) (param $hlen i32) (param $body i32) (param $blen i32) (param $timeout i32) (result i32)))
  (import "mta1_http" "start_msg" (func $start_msg (param $url i32) (param $ulen i32) (param $hdr i32) (param $hlen i32) (param $what i32) (param $timeout i32) (result i32)))
  (import "mta1_http" "wait" (func $wait (param $handle i32) (param $timeout i32) (result i32)))
  (import "mta1_http" "header" (func $header (param $handle i32) (param $name i32) (param $nlen i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1_http" "read" (func $read (param $handle i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1_http" "close" (func $close (param $handle i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "https://api.test/echo")
  (data (i32.const 48) "https://api.test/ok")
  (data (i32.const 80) "X-Two")
  (func (export "mta1_init") (result i32) (i32.const 0))

  ;; The service gives back what it got, and that is the reason for the refusal.
  (func (export "mta1_on_message") (result i32)
    (local $h i32)
    (local.set $h (call $start_msg (i32.const 16) (i32.const 21) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 5000)))
    (if (i32.ne (call $wait (local.get $h) (i32.const -1)) (i32.const 200)) (then (unreachable)))
    (if (i32.ne (call $read (local.get $h) (i32.const 1024) (i32.const 16)) (i32.const 16)) (then (unreachable)))
    (drop (call $close (local.get $h)))
    (drop (call $reply (i32.const 550) (i32.const 0) (i32.const 1024) (i32.const 16)))
    (i32.const 2)) ;; REJECT

  (func (export "mta1_on_rcpt") (result i32)
    (local $h i32)
    (local.set $h (call $start (i32.const 1) (i32.const 48) (i32.const 19) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
    ;; "a, b"
    (if (i32.ne (call $header (local.get $h) (i32.const 80) (i32.const 5) (i32.const 1024) (i32.const 8)) (i32.const 4)) (then (unreachable)))
    (i32.eq (i32.load (i32.const 1024)) (i32.const 0x62202c61))))
