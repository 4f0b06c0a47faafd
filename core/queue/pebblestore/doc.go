// Package pebblestore is the embedded [queue.Store], on Pebble. The keys, the
// states and what a crash leaves are described in package queue; this package
// adds how they are kept.
//
// # Promises
//
// A transition is one Pebble batch. Commit asks Pebble for a synced write, and
// all writers that wait at that time share one sync. Settle, Update and Remove
// apply their batch under the lock of the message and wait for the log behind
// it outside the lock, so that the items of a message with many domains are
// settled in one sync too.
//
// Nothing goes on after a write or sync that failed: Pebble cannot tell any
// more what is on the disk. [Options.Fatal] is called, by default it ends the
// process with exit code 75, and no call that was under way returns. (When
// Pebble cannot change to a new log file it panics in a way that nobody can
// recover from, and the process ends with code 2.)
//
// Every value carries a version octet and a CRC-32C over its key and itself,
// so that neither a flipped bit nor a value under the wrong key is taken for
// good. A body is verified chunk by chunk before any octet of the chunk is
// handed out, and as a whole when it is read from beginning to end.
//
// Damage in the log is an error of Open, except in its last blocks, where it
// looks like a write that the power failure cut short. A clean shutdown
// therefore leaves nothing in the log.
//
// Only points are deleted. A range tombstone for each message would make every
// reader rebuild the list of them (a hundred times slower, measured).
//
// # Queue ids
//
// Ids never repeat, also when the clock is set back between two runs: the
// store reserves a minute of them ahead, in a synced record, before it gives
// the first one out. After a crash ids go on behind the reservation, so for at
// most a minute they are ahead of the clock.
//
// # Opening
//
// Open replays Pebble's log (at most a few memtables) and reads a handful of
// records. What is proportional to the queue runs in the background and serving
// does not wait for it: after an unclean stop the totals are counted again
// ([Store.Counts] grows meanwhile), and body chunks without a message are
// removed. [Store.Recovered] tells when that is done.
//
// # Disk space
//
// New drafts are refused with ErrStorage while less than 5 % of the disk, or
// less than Options.MinFree, is available, and Linux has fewer than a thousand
// inodes left. Attempts go on and free space; new mail is taken again by itself.
package pebblestore
