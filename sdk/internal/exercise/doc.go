// Package exercise is the test of the SDKs that no Go test reaches: each has a
// plugin that uses its helpers in the same way, and what comes of it in the
// engine must be the same.
//
// It is imported by tests only.
package exercise
