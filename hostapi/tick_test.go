package hostapi

import (
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// At tick there is neither session nor message: what is about them is E_STATE,
// whatever is granted and however it is asked for.
func TestTickHasNoSessionAndNoMessage(t *testing.T) {
	tick := &hook.Event{Stage: hook.Tick, Recipient: -1}
	grant := all
	grant.AuthPassword = true
	h := newHost(t, grant, tick)
	for id := range uint64(len(table) << 8) {
		f := lookup(id)
		if f == nil || f.stages == always {
			continue
		}
		name := "get"
		args := []any{int(id), half, half}
		if f.num != nil {
			name, args = "get_num", []any{int(id)}
		}
		h.code(abi.State, name, args...)
	}
	for list := abi.ListRcpt; list <= abi.ListReceived; list++ {
		h.code(abi.State, "list_len", list)
	}
	for scope := range 4 {
		h.code(abi.State, "attr_get", scope, "k", half, half)
		h.code(abi.State, "attr_set", scope, "k", "v")
	}
	h.code(abi.State, "body_read", 0, half, half)
	h.code(abi.State, "body_write", "x")
	h.code(abi.State, "reply", 250, 0, "x")
	h.code(abi.OK, "log", abi.LogInfo, "x")
	if l := h.lines; len(l) != 1 || l[0].Hook != "tick" || l[0].Session != "" || l[0].Message != "" {
		t.Errorf("logged %+v", l)
	}
	h.text("me", "get", abi.Plugin, half, half)
}
