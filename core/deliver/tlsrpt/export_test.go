package tlsrpt

// Size is how much is kept, over all days: domains, policies, kinds of failure, and failures.
func (s *Store) Size() (domains, policies, details, failures int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.days {
		domains += len(d.Domains)
		for _, x := range d.Domains {
			policies += len(x.Policies)
			for _, c := range x.Policies {
				details += len(c.Details)
				for _, f := range c.Details {
					failures += int(f.Count)
				}
			}
		}
	}
	return domains, policies, details, failures
}
