;; What there is of WASI, and env.abort (5.3).

;;! == clocks, random octets, and no arguments and variables
;;! at rcpt
;;! => accept
(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32)
    (i32.store (i32.const 100) (i32.const -1))
    (i32.store (i32.const 104) (i32.const -1))
    (i32.eqz
      (i32.or
        (i32.or (call $clock (i32.const 0) (i64.const 1) (i32.const 8)) (call $random (i32.const 16) (i32.const 32)))
        (i32.or
          (i32.or (call $args (i32.const 100) (i32.const 112)) (i32.load (i32.const 100)))
          (i32.or (call $environ (i32.const 104) (i32.const 112)) (i32.load (i32.const 104))))))))

;;! == what is written to 1 and 2 is logged
;;! logs info "to the log"
;;! at rcpt
;;! => accept
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "\20\00\00\00\0b\00\00\00")
  (data (i32.const 32) "to the log\n")
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32)
    (i32.and
      (i32.eqz (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))
      (i32.ne (call $write (i32.const 3) (i32.const 16) (i32.const 1) (i32.const 8)) (i32.const 0)))))

;;! == proc_exit ends the call
;;! at rcpt
;;! => fails exit
;;! at data
;;! => fails exit
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32) (call $exit (i32.const 0)) (i32.const 1))
  (func (export "mta1_on_data") (result i32) (call $exit (i32.const 1)) (i32.const 1)))

;;! == poll_oneoff never waits
;;! limits wall=300ms
;;! at rcpt
;;! => accept
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; A subscription to the monotonic clock in an hour.
  (data (i32.const 64) "\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\00\a0\b8\30\46\03\00\00")
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32)
    (drop (call $poll (i32.const 64) (i32.const 256) (i32.const 1) (i32.const 320)))
    (i32.const 1)))

;;! == abort logs and traps
;;! at rcpt
;;! => fails trap
(module
  (import "env" "abort" (func $abort (param i32 i32 i32 i32)))
  (memory (export "memory") 1)
  ;; Strings of AssemblyScript: the length in octets, then UTF-16.
  (data (i32.const 16) "\04\00\00\00n\00o\00\08\00\00\00x\00.\00t\00s\00")
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32) (call $abort (i32.const 20) (i32.const 28) (i32.const 3) (i32.const 4)) (i32.const 1)))
