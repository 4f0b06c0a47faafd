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

var functions = [...]struct {
	name string
	sig  Signature
}{
	{"get", "iii>i"},
	{"get_num", "i>I"},
	{"set", "iii>i"},
	{"set_num", "iI>i"},
	{"list_len", "i>i"},
	{"list_get", "iiiii>i"},
	{"list_num", "iii>I"},
	{"list_set", "iiiii>i"},
	{"list_insert", "iiii>i"},
	{"list_remove", "ii>i"},
	{"list_find", "iiii>i"},
	{"reply", "iiii>i"},
	{"body_read", "Iii>i"},
	{"body_write", "ii>i"},
	{"body_splice", "II>i"},
	{"attr_get", "iiiii>i"},
	{"attr_set", "iiiii>i"},
	{"attr_del", "iii>i"},
	{"config", "iiii>i"},
	{"secret", "iiii>i"},
	{"log", "iii>i"},
	{"log_level", ">i"},
	{"now_ms", ">I"},
	{"mono_ns", ">I"},
	{"random", "ii>i"},
	{"metric_def", "iii>i"},
	{"metric_add", "iI>i"},
	{"feature", "i>i"},
}
