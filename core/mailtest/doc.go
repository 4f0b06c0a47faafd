// Package mailtest holds scripted SMTP peers, DNS zones and fixtures for tests. Only tests import it.
package mailtest
