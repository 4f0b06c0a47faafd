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
// A write to the log that finds the disk full ends the process, so the store
// stops taking mail before. The size of a memtable, and so of a log file, is
// 1/64 of the disk, at least 1 MiB and at most 64 MiB. Kept free are
//
//   - the headroom, 5 memtables: Pebble holds up to 4 that wait to be flushed,
//     and each log is there until its flush is done; and the next log, which is
//     allocated as a whole when it is begun;
//   - the reserve, Options.MinFree, but no more than 1/8 of the disk (or 8 MiB if
//     that is more): for Settle and notices, which are never refused, and for
//     compactions. A compaction that would go below the headroom waits.
//
// So 13 of 64 MiB, 208 MiB of 1 GiB and 576 MiB of any disk of 4 GiB or more are
// kept free. Drafts claim what they hold in memory from the rest octet by octet:
// Begin, Write and Commit return ErrStorage when all drafts together would take
// more, and also while Linux has fewer than a thousand inodes left.
//
// Attempts go on and remove mail. While new mail is refused, the memtables are
// flushed every two seconds, and the tables compacted when they hold garbage,
// so that the space comes back and mail is taken again by itself. Up to 5 log
// files stay for reuse.
//
// When somebody else takes the last octet of the disk, the blocks of the file
// BALLAST (one memtable; on Linux) are given up, once, and come back when there
// is room again. If that was not enough the process ends as after any failed
// write. Open on such a disk serves if nothing in the log has to be flushed;
// otherwise it waits 5 seconds for space, then ends the process in the same way
// or fails with ErrStorage. What was acknowledged is on the disk.
package pebblestore
