// Package trace remembers what became of each message and session, so that
// wasmta explain can tell it on one page: who brought it, which plugins were
// asked and what they answered and changed, what was replied, where it was
// routed, each attempt with the remote reply, and the end. It also remembers the
// sessions that never became a message.
//
// It is not part of core/event, which reports one line at a time to whoever
// listens: a trace is kept by message, at next to no cost while the message
// moves, and tells what plugins answered.
//
// # What it promises
//
// Mail is never delayed, and never refused, because of the trace. A [Record] is
// written by the goroutine that has the session or the delivery, straight into
// one buffer, and handed over once, when the transaction or the attempt ends; a
// background writer puts it on the disk within a second. What cannot be kept up
// with is dropped and counted ([Stats]). A nil *Store and a nil *Record do
// nothing, at no cost: that is how the trace is switched off.
//
// The disk it takes is bounded by Options.MaxSize, and in time by Options.Keep:
// the oldest goes first. A record holds at most [MaxEvents] events and
// [MaxBytes] octets, then one event that says how many more there were; what
// says how things ended has some room beyond that. A text is cut at [MaxText].
//
// Secrets are not in it: passwords never, and of the content only sizes and the
// names of header fields. Reverse- and forward-paths are, so are the names of
// who authenticated, replies word for word, and what plugins log. Texts are
// stored as they came: who prints them escapes them. Directory and files are the
// server's alone (0700, 0600).
//
// # On the disk
//
// Segments NNNNNNNNNNNNNNNN.trace hold frames, one behind the other and never
// changed:
//
//	"wtr1"  length  CRC-32C  payload     integers are little-endian, 32 bits
//
//	payload: version and kind (1 octet each), session, message (8), item (4),
//	         time (8, nanoseconds), events
//	event:   kind (1), length of the rest (2), microseconds since the time above (varint), fields
//	field:   key (1); below 128 a text follows (length as varint), from 128 on a number (varint)
//
// Fields and events with a number that is not known are skipped. Kinds of
// frames are a part of a session, a transaction, and work on a queue item.
//
// A segment that is full, or old, is sealed: beside it appears
// NNNNNNNNNNNNNNNN.index with the ids in it, sorted, each with the offset of its
// frame, so that a look-up reads some blocks of each segment and not the
// segments. Queue ids carry their time: segments that were sealed before are not
// looked at. Ids of the segment in use are in memory.
//
// After a crash, what was not written is missing, a second at most; a torn tail
// is cut. A frame whose checksum is wrong is passed over, in a look-up with a
// notice. An index that is missing or damaged is made again.
//
// # How a message is put together
//
// A session writes its own events, connect to AUTH, into a part of its own, in
// front of each transaction. [Store.Explain] for a queue id takes the frames with
// that id, of the transaction and of each attempt, and the parts of the session
// before that transaction. For a session id it takes all that the session wrote.
package trace
