// Package hostapi is what a guest may call: one file per family of functions
// (log, config, session, auth, envelope, header, content, delivery, reply, attr,
// clock, random, feature, metric, and the capabilities kv, dns, http, crypto,
// table, event), and field and list for what they share. Open the directory,
// and the file names are the list of a plugin's powers. Each function checks the
// grant before it acts, the stage before it changes anything, and every pointer
// and length that it was handed.
//
// hostapi/abi is the contract, hostapi/engine runs the guest, hostapi/manager
// holds the generations in force. RATIONALE.md says why things are as they are.
package hostapi
