// Package mailtest holds scripted SMTP peers, DNS zones and fixtures for tests and for the laboratory of cmd/lab. Nothing
// that serves mail imports it.
package mailtest
