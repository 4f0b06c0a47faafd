// Package certs makes the certificates of the laboratory: an authority that nobody else knows, and what it signs, good
// and bad. Keys are made anew each time and never leave the memory unless asked for.
package certs
