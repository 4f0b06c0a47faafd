;; What a guest cannot do (section 8, clauses 1.5, 2.6, 3.3), whatever its code.
;; After a failure the next hook has a new instance.

;;! == a loop without end
;;! limits cpu=5ms
;;! at rcpt
;;! => fails cpu
;;! at mail
;;! => accept
(module
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32) (loop $l (br $l)) (unreachable))
  (func (export "mta1_on_mail") (result i32) (i32.const 1)))

;;! == a loop of host calls
;;! at rcpt
;;! => fails limit
(module
  (import "mta1" "log_level" (func $level (result i32)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32) (loop $l (drop (call $level)) (br $l)) (unreachable)))

;;! == fills without end
;;! limits cpu=5ms
;;! at rcpt
;;! => fails cpu
(module
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32)
    (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 60000)) (br $l)) (unreachable)))

;;! == copies without end
;;! limits cpu=5ms
;;! at rcpt
;;! => fails cpu
(module
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32)
    (loop $l (memory.copy (i32.const 0) (i32.const 5000) (i32.const 60000)) (br $l)) (unreachable)))

;;! == the wall time, when there is CPU time left
;;! limits cpu=1000s wall=100ms
;;! at rcpt
;;! => fails deadline
(module
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32) (loop $l (br $l)) (unreachable)))

;;! == calls without end
;;! at rcpt
;;! => fails recursion
(module
  (memory (export "memory") 1)
  (func $f (param i32) (result i32) (i32.add (call $f (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32) (call $f (i32.const 0))))

;;! == calls without end through a table
;;! at rcpt
;;! => fails recursion
(module
  (memory (export "memory") 1)
  (table funcref (elem $a $b))
  (func $a (result i32) (i32.add (call_indirect (result i32) (i32.const 1)) (i32.const 1)))
  (func $b (result i32) (i32.add (call_indirect (result i32) (i32.const 0)) (i32.const 1)))
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32) (call $a)))

;;! == calls a thousand deep
;;! at rcpt
;;! => accept
(module
  (memory (export "memory") 1)
  (func $f (param i32) (result i32)
    (if (result i32) (local.get 0) (then (i32.add (call $f (i32.sub (local.get 0) (i32.const 1))) (i32.const 1))) (else (i32.const 0))))
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32) (i32.eq (call $f (i32.const 1000)) (i32.const 1000))))

;;! == 16 MiB of memory, and not a page more
;;! at rcpt
;;! => accept
(module
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32)
    (i32.and
      (i32.and (i32.eq (memory.grow (i32.const 255)) (i32.const 1)) (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
      (i32.and (i32.eq (memory.size) (i32.const 256)) (i32.eq (memory.grow (i32.const 65535)) (i32.const -1))))))

;;! == memory as the operator says
;;! limits memory_mb=2
;;! at rcpt
;;! => accept
(module
  (memory (export "memory") 1 65536)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32)
    (i32.and (i32.eq (memory.grow (i32.const 31)) (i32.const 1)) (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))))

;;! == more memory than it may have, from the start
;;! limits memory_mb=1
;;! refused "memory"
(module (memory (export "memory") 17) (func (export "mta1_init") (result i32) (i32.const 0)))

;;! == a table of 32768 entries, and not one more
;;! at rcpt
;;! => accept
(module
  (memory (export "memory") 1)
  (table 1 funcref)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32)
    (i32.and
      (i32.eq (table.grow 0 (ref.null func) (i32.const 32767)) (i32.const 1))
      (i32.eq (table.grow 0 (ref.null func) (i32.const 1)) (i32.const -1)))))

;;! == traps of the machine
;;! at mail
;;! => fails trap
;;! at rcpt
;;! => fails trap
;;! at data
;;! => fails trap
;;! at headers
;;! => fails trap
;;! at message
;;! => fails trap
;;! at route
;;! => fails trap
;;! at attempt
;;! => accept
(module
  (memory (export "memory") 1)
  (table 2 funcref)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_mail") (result i32) (unreachable))
  (func (export "mta1_on_rcpt") (result i32) (i32.load (i32.const -4)))
  (func (export "mta1_on_data") (result i32) (i32.div_s (i32.const 1) (i32.const 0)))
  (func (export "mta1_on_headers") (result i32) (call_indirect (result i32) (i32.const 0)))
  (func (export "mta1_on_message") (result i32) (call_indirect (result i32) (i32.const 99)))
  (func (export "mta1_on_route") (result i32) (i32.trunc_f64_s (f64.const 1e300)))
  (func (export "mta1_on_attempt") (result i32) (i32.const 1)))

;;! == what an instance remembers, and what is gone after a failure
;;! at mail
;;! => accept
;;! at rcpt
;;! => fails trap
;;! at data
;;! => reject 550 5.7.1 Rejected by policy
(module
  (memory (export "memory") 1)
  (global $asked (mut i32) (i32.const 0))
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_mail") (result i32) (global.set $asked (i32.const 1)) (i32.store (i32.const 8) (i32.const 1)) (i32.const 1))
  (func (export "mta1_on_rcpt") (result i32) (if (global.get $asked) (then (unreachable))) (i32.const 0))
  ;; REJECT 550 if nothing is left.
  (func (export "mta1_on_data") (result i32)
    (if (i32.or (global.get $asked) (i32.load (i32.const 8))) (then (return (i32.const 0))))
    (i32.const 0x02260002)))
