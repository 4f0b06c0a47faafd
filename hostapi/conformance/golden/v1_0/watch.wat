;;! == golden 1.0: it watches: log, metrics, events, clocks, a secret
;;! grant secrets=api events=seen
;;! logs info "started"
;;! logs event seen "hush" s1 t1
;;! at rcpt
;;! => continue

(module
  (import "mta1" "log" (func $log (param $level i32) (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1" "log_level" (func $log_level (result i32)))
  (import "mta1" "now_ms" (func $now_ms (result i64)))
  (import "mta1" "mono_ns" (func $mono_ns (result i64)))
  (import "mta1" "random" (func $random (param $buf i32) (param $len i32) (result i32)))
  (import "mta1" "secret" (func $secret (param $name i32) (param $nlen i32) (param $buf i32) (param $cap i32) (result i32)))
  (import "mta1" "metric_def" (func $metric_def (param $kind i32) (param $name i32) (param $nlen i32) (result i32)))
  (import "mta1" "metric_add" (func $metric_add (param $id i32) (param $value i64) (result i32)))
  (import "mta1" "feature" (func $feature (param $id i32) (result i32)))
  (import "mta1_event" "emit" (func $emit (param $topic i32) (param $tlen i32) (param $data i32) (param $dlen i32) (result i32)))
  (memory (export "memory") 1)
  (global $calls (mut i32) (i32.const -1))
  (global $begun (mut i64) (i64.const 0))
  (data (i32.const 16) "started")
  (data (i32.const 24) "calls")
  (data (i32.const 32) "api")
  (data (i32.const 36) "seen")
  (func $must (param $ok i32) (if (i32.eqz (local.get $ok)) (then (unreachable))))

  (func (export "mta1_init") (result i32)
    (global.set $calls (call $metric_def (i32.const 0) (i32.const 24) (i32.const 5)))
    (global.set $begun (call $mono_ns))
    (if (i32.le_s (call $log_level) (i32.const 1)) (then (drop (call $log (i32.const 1) (i32.const 16) (i32.const 7)))))
    (i32.lt_s (global.get $calls) (i32.const 0)))

  (func (export "mta1_on_rcpt") (result i32)
    (call $must (i32.eqz (call $metric_add (global.get $calls) (i64.const 1))))
    (call $must (i64.ge_s (call $mono_ns) (global.get $begun)))
    (call $must (i64.gt_s (call $now_ms) (i64.const 1700000000000)))
    (call $must (i32.eqz (call $random (i32.const 1024) (i32.const 16))))
    (call $must (call $feature (i32.const 21))) ;; EVENT
    (call $must (i32.eq (call $secret (i32.const 32) (i32.const 3) (i32.const 2048) (i32.const 16)) (i32.const 4)))
    (call $must (i32.eqz (call $emit (i32.const 36) (i32.const 4) (i32.const 2048) (i32.const 4))))
    (i32.const 0x0100))) ;; CONTINUE and DETACH_TX
