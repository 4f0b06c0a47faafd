;;! == golden 1.0: a hash of the body, signed with the operator's key
;;! grant body=read headers=write sign_keys=ed,mac
;;! at message
;;! => continue
;;! edit header: "X-Signed: yes" "Received: from b.test\r\n by a.test; Thu, 1 Jan 2026 00:00:01 +0000" "Received: from c.test by b.test; Thu, 1 Jan 2026 00:00:00 +0000" "From: Sender <sender@example.org>" "To: ann@example.com" "Subject: a long\r\n line" "X-Test: one" "Message-ID: <1@example.org>" "x-test: two"
;;! at auth
;;! => accept

(module
  (import "mta1" "body_read" (func $body_read (param $off i64) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1" "list_insert" (func $list_insert (param $list i32) (param $idx i32) (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1_crypto" "digest" (func $digest (param $alg i32) (param $ptr i32) (param $len i32) (param $out i32) (param $cap i32) (result i32)))
  (import "mta1_crypto" "digest_open" (func $open (param $alg i32) (result i32)))
  (import "mta1_crypto" "digest_update" (func $update (param $h i32) (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1_crypto" "digest_body" (func $body (param $h i32) (param $off i64) (param $len i64) (param $canon i32) (result i32)))
  (import "mta1_crypto" "digest_final" (func $final (param $h i32) (param $out i32) (param $cap i32) (result i32)))
  (import "mta1_crypto" "sign" (func $sign (param $keyname i32) (param $nlen i32) (param $alg i32) (param $dig i32) (param $dlen i32) (param $out i32) (param $cap i32) (result i32)))
  (import "mta1_crypto" "verify" (func $verify (param $alg i32) (param $key i32) (param $klen i32) (param $sig i32) (param $slen i32) (param $dig i32) (param $dlen i32) (result i32)))
  (import "mta1_crypto" "hmac" (func $hmac (param $keyname i32) (param $nlen i32) (param $alg i32) (param $ptr i32) (param $len i32) (param $out i32) (param $cap i32) (result i32)))
  (import "mta1_crypto" "password_verify" (func $password (param $hash i32) (param $hlen i32) (param $pw i32) (param $pwlen i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "ed")
  (data (i32.const 20) "mac")
  (data (i32.const 32) "X-Signed: yes")
  (data (i32.const 48) "secret")
  ;; The public key of ed.
  (data (i32.const 64) "\3b\6a\27\bc\ce\b6\a4\2d\62\a3\a8\d0\2a\6f\0d\73\65\32\15\77\1d\e2\43\a6\3a\c0\48\a1\8b\59\da\29")
  (data (i32.const 128) "$6$rounds=1000$saltstring$2BkAo106CG84raQcWpAlhyy6TSSkAsL1nfvBCoezLYyerUzY2l8axTvq6NynEt7SQAx3/cdop9ds0po8uaeHq0")
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func $must (param $ok i32) (if (i32.eqz (local.get $ok)) (then (unreachable))))

  (func (export "mta1_on_message") (result i32)
    (local $h i32) (local $n i32)
    ;; The hash of the body that the host makes is that of what it shows.
    (local.set $h (call $open (i32.const 2)))
    (call $must (i32.eqz (call $body (local.get $h) (i64.const 0) (i64.const -1) (i32.const 0))))
    (call $must (i32.eq (call $final (local.get $h) (i32.const 1024) (i32.const 32)) (i32.const 32)))
    (local.set $n (call $body_read (i64.const 0) (i32.const 4096) (i32.const 4096)))
    (local.set $h (call $open (i32.const 2)))
    (call $must (i32.eqz (call $update (local.get $h) (i32.const 4096) (local.get $n))))
    (call $must (i32.eq (call $final (local.get $h) (i32.const 1056) (i32.const 32)) (i32.const 32)))
    (call $must (i32.eq (call $digest (i32.const 2) (i32.const 4096) (local.get $n) (i32.const 1088) (i32.const 32)) (i32.const 32)))
    (call $must (i64.eq (i64.load (i32.const 1024)) (i64.load (i32.const 1056))))
    (call $must (i64.eq (i64.load (i32.const 1024)) (i64.load (i32.const 1088))))
    ;; Signed by the host, checked with the public key; changed, it is E_BAD_SIG.
    (call $must (i32.eq (call $sign (i32.const 16) (i32.const 2) (i32.const 16) (i32.const 1024) (i32.const 32) (i32.const 2048) (i32.const 64)) (i32.const 64)))
    (call $must (i32.eqz (call $verify (i32.const 16) (i32.const 64) (i32.const 32) (i32.const 2048) (i32.const 64) (i32.const 1024) (i32.const 32))))
    (i32.store8 (i32.const 2050) (i32.add (i32.load8_u (i32.const 2050)) (i32.const 1)))
    (call $must (i32.eq (i32.const -11) (call $verify (i32.const 16) (i32.const 64) (i32.const 32) (i32.const 2048) (i32.const 64) (i32.const 1024) (i32.const 32))))
    (call $must (i32.eq (call $hmac (i32.const 20) (i32.const 3) (i32.const 2) (i32.const 48) (i32.const 6) (i32.const 3072) (i32.const 32)) (i32.const 32)))
    (call $must (i32.eqz (call $list_insert (i32.const 2) (i32.const 0) (i32.const 32) (i32.const 13))))
    (i32.const 0))

  (func (export "mta1_on_auth") (result i32)
    (call $password (i32.const 128) (i32.const 112) (i32.const 48) (i32.const 6))))
