;;! == golden 1.0: a line is put under the message
;;! grant body=write
;;! at message
;;! => continue
;;! edit body: "Hello,  world \r\nC \r\n\r\n\r\nno obligation\r\n"

(module
  (import "mta1" "body_write" (func $body_write (param $ptr i32) (param $len i32) (result i32)))
  (import "mta1" "body_splice" (func $body_splice (param $off i64) (param $len i64) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "no obligation\r\n")
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_message") (result i32)
    (if (call $body_splice (i64.const 0) (i64.const -1)) (then (unreachable)))
    (if (call $body_write (i32.const 16) (i32.const 15)) (then (unreachable)))
    (i32.const 0)))
