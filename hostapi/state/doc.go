// Package state is the memory of plugins: keys and values that outlive
// sessions, generations and restarts. It promises:
//
//   - Each plugin sees its own keys only. They belong to its name.
//   - Every operation is atomic, also among many at once: a counter counts each
//     time, and a token is taken once.
//   - Nothing is half there after a crash. What was not asked to be on disk may
//     be lost if it is some moments old, and then everything after it too.
//   - A plugin keeps as many octets as it was granted and no more than
//     abi.MaxKVKeys keys. What has expired is not there, and is counted until
//     it is swept away, which takes up to two minutes.
//   - A disk that is full or broken makes operations fail, and never takes the
//     server or the queue with it.
//
// The store is a Pebble of its own, apart from that of the queue.
package state
