package qmgr

import "fmt"

// Leftover tells what is still counted, or listed, though nothing is in memory any
// more; empty: nothing.
func (m *Manager) Leftover() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.known) > 0 {
		return fmt.Sprintf("%d items in memory", len(m.known))
	}
	if m.active+m.sorting+m.strain+m.workers+m.sorters+len(m.settling)+len(m.senders)+m.ring.len()+m.squeezed.len()+m.unrouted.waiting > 0 || m.room != nil {
		return fmt.Sprintf("active %d, sorting %d, strain %d, workers %d, sorters %d, settling %d, senders %d, calling %d, squeezed %d, unrouted %d, room %v",
			m.active, m.sorting, m.strain, m.workers, m.sorters, len(m.settling), len(m.senders), m.ring.len(), m.squeezed.len(), m.unrouted.waiting, m.room != nil)
	}
	for _, h := range m.hops {
		if !h.idle() || len(h.lines) > 0 || h.turns.len() > 0 {
			return fmt.Sprintf("%v: active %d, waiting %d, urgent %d, in place %d, listed %d, shut %d, lines %d, turns %d",
				h.key, h.active, h.waiting, h.urgent.len(), h.waiters.len(), h.listed, h.shut, len(h.lines), h.turns.len())
		}
	}
	return ""
}
