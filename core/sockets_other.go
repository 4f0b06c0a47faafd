//go:build !unix

package core

func socketMode(uintptr, uint32) {}
