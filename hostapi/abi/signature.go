package abi

// ValueType is the type of a parameter or result.
type ValueType byte

const (
	I32 ValueType = 'i'
	I64 ValueType = 'I'
)

// Signature is a function type: one letter a parameter (i: i32, I: i64), then
// the result after a '>'; "ii>i".
type Signature string

// Functions calls f for each core function with its signature.
func Functions(f func(name string, sig Signature)) {
	for _, e := range functions {
		f(e.name, e.sig)
	}
}

// Parameters calls f for each core function with the names of its parameters,
// separated by commas.
func Parameters(f func(name, params string)) {
	for _, e := range functions {
		f(e.name, e.params)
	}
}

// The third column names the parameters. buf is written by the host, ptr, key
// and name are read by it; cap, len, klen and nlen are their lengths.
var functions = [...]struct {
	name   string
	sig    Signature
	params string
}{
	{"get", "iii>i", "field, buf, cap"},                   // a field of kind b
	{"get_num", "i>I", "field"},                           // a field of kind n, from 0 up
	{"set", "iii>i", "field, ptr, len"},                   // change a field of kind b
	{"set_num", "iI>i", "field, value"},                   // change a field of kind n
	{"list_len", "i>i", "list"},                           // the number of elements
	{"list_get", "iiiii>i", "list, idx, field, buf, cap"}, // a field of an element, kind b
	{"list_num", "iii>I", "list, idx, field"},             // a field of an element, kind n
	{"list_set", "iiiii>i", "list, idx, field, ptr, len"}, // change a field of an element
	{"list_insert", "iiii>i", "list, idx, ptr, len"},      // insert before idx; -1 is the end
	{"list_remove", "ii>i", "list, idx"},                  // remove an element
	{"list_find", "iiii>i", "list, from, key, klen"},      // index of the first match at or after from, without regard to case
	{"reply", "iiii>i", "code, enh, ptr, len"},            // the reply of this call's verdict; section 4
	{"body_read", "Iii>i", "off, buf, cap"},               // octets of the body from off; the number read, 0 at the end
	{"body_write", "ii>i", "ptr, len"},                    // append octets to the new body
	{"body_splice", "II>i", "off, len"},                   // append octets of the old body from off to the new one; len -1: all that follow
	{"attr_get", "iiiii>i", "scope, key, klen, buf, cap"}, // an attribute
	{"attr_set", "iiiii>i", "scope, key, klen, ptr, len"}, // set an attribute
	{"attr_del", "iii>i", "scope, key, klen"},             // delete an attribute; E_NOT_FOUND: it was not set
	{"config", "iiii>i", "key, klen, buf, cap"},           // the configuration: klen 0 all of it as JSON, otherwise a member of the object: a string as its text, anything else as JSON
	{"secret", "iiii>i", "name, nlen, buf, cap"},          // a secret of the operator
	{"log", "iii>i", "level, ptr, len"},                   // a line for the log: 0 debug, 1 info, 2 warning, 3 error
	{"log_level", ">i", ""},                               // the lowest level that is kept
	{"now_ms", ">I", ""},                                  // milliseconds since 1970
	{"mono_ns", ">I", ""},                                 // nanoseconds of a clock that is never set
	{"random", "ii>i", "buf, len"},                        // cryptographic random octets, at most 65536
	{"metric_def", "iii>i", "kind, name, nlen"},           // the id of a series of metrics; in mta1_init
	{"metric_add", "iI>i", "id, value"},                   // a sample
	{"feature", "i>i", "id"},                              // 1: this server has it and the plugin is granted it; 0: no
}
