package core

// Alive returns nil if the queue can be written and its manager is not stuck.
// It does not return while either hangs: who calls it for a watchdog just waits.
func (s *Server) Alive() error {
	s.queue.Snapshot()
	return s.store.Sync()
}
