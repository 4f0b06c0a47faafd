// Package maildrop is the directory through which programs of this machine hand
// mail over with the sendmail command, also while the server is down. The
// command writes ([Create]), the server picks up ([Open]), and [Submit] says it
// to the server's own SMTP side, so that it takes the way of all mail.
//
//	DIR/                 mode 1733, or 1730 with a group: who may write cannot list
//	DIR/tHEX             being written; never looked at, removed after a day
//	DIR/HEX              a message, 128 random bits for a name, mode 0444
//	DIR/active/ID-HEX    taken by the server, mode 0700
//	DIR/bad/HEX          refused by the server, for a person to look at, mode 0700
//
// # A message
//
//	"wasmta drop 1\n"
//	length (u32), envelope, CRC-32C of the envelope (u32)
//	chunks of the content: length (u32, 1 to 65,536), octets; then 0 (u32)
//	CRC-32C of the content (u32)
//
// Numbers are big-endian. The envelope is a sequence of length-prefixed strings.
//
// # When it is ours
//
// [Drop.Commit] writes, syncs, renames and syncs again; after that the command
// may exit with 0. (Who may not list a directory may not open it to sync it. The
// second sync of the file makes its new name durable on the file systems that
// Linux has; where the directory can be opened it is synced too.)
//
// The server renames the message into active before it reads it, so that nobody
// else can change its name any more; the name it gets there says when. It is the
// session id of its submission, which the queue stores with the message. The
// file is removed after the queue has committed the message and before the
// message is given to the scheduler. A server that starts looks for messages of
// the queue that came by a session that is still active, which were committed
// by the server that crashed, and removes their files. So a crash at any time
// neither loses nor doubles a message, with one exception: a message whose file
// is still there although it was committed, and that was delivered before the
// crash, is sent again. That needs the scheduler to find it on the disk, and
// deliver it, in the time from the commit to the removal that follows it.
//
// # Who is trusted
//
// Nobody. A file must be regular, have one name, be not larger than a message
// may be, and decode; its owner is who sends it. What is not so goes to bad, and
// the log says why. Links are not followed. Content is given to the server chunk
// by chunk, and the last one only when the checksum was right, so a file that
// changes while it is read comes to nothing.
package maildrop
