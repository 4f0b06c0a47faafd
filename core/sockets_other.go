//go:build !unix

package core

func socketMode(uintptr, uint32) {}

func refused(error) bool { return true }
