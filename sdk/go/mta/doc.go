// Package mta is what the author of a plugin reads: the facts of a session, the
// changes that can be made to it, and the verdicts.
//
// A plugin is package main. It imports a package for each hook it wants to be
// asked at, and gives it a function:
//
//	func init() {
//		onrcpt.Handle(func(s *mta.Session) mta.Verdict {
//			if s.Recipient().Local() == "nobody" {
//				return s.Reject(550, "5.1.1", "there is no such mailbox")
//			}
//			return mta.Continue
//		})
//	}
//
//	func main() {}
//
// Importing a hook package is subscribing to it: the export it brings is how
// the server knows.
//
// # What to expect
//
// The server runs an instance of the plugin for each session and for each
// delivery; package variables live as long, and no two calls run at once. What
// must last longer is an attribute ([Session.SetAttr]), or stands in the
// plugin's memory ([Session.KV]).
//
// A method that reads returns the zero value for what is not there, not known
// at this hook or not granted. A method that changes something returns an
// error, an abi.Code such as abi.Denied, and changes nothing then. [Must] is
// for changes that the policy cannot do without.
//
// The changes a handler made are kept if it returns [Continue] or [Accept], and
// dropped otherwise. A panic costs the instance; the configuration's on_error
// is the verdict.
//
// # Small and quick
//
// Each string that is read is one allocation; numbers and changes make none.
// This package keeps out of fmt, encoding/json, net and time, which would make
// a plugin larger by half and slower to start. Use them where you need them.
package mta
