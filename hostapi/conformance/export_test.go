package conformance

import (
	"fmt"
	"maps"
	"slices"
)

// Words are the names of errors, fields, lists and their fields, scopes and
// features that cases must come to.
func Words() (list []string) {
	for _, f := range fields {
		if f.offered != 'n' {
			list = append(list, f.name)
		}
	}
	for k := range codes {
		if k != "OK" {
			list = append(list, k)
		}
	}
	list = slices.AppendSeq(list, maps.Keys(lists))
	list = slices.AppendSeq(list, maps.Keys(listFields))
	list = slices.AppendSeq(list, maps.Keys(scopes))
	list = slices.AppendSeq(list, maps.Keys(features))
	slices.Sort(list)
	return list
}

// Fields are the rows of the table of fields as the contract writes them, up to
// where each can be set.
func Fields() (list []string) {
	for _, f := range fields {
		kind := "b"
		if f.number {
			kind = "n"
		}
		list = append(list, fmt.Sprintf("0x%04x | %s | %s | %s | %s", int32(f.id), f.name, kind, f.readAt, f.setAt))
	}
	return list
}

// Allowed are the verdicts of a hook besides CONTINUE, as the contract writes
// them.
func Allowed(hook string) string { return allowed[hook] }
