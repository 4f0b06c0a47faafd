// Command generate writes what the SDKs of other languages share with the host:
// the constants of the contract and the imports of the module mta1. Run it at
// the root of the repository after a change of package abi:
//
//	go run ./hostapi/abi/generate
//
// It reads the source of package abi, with its comments, and nothing else; its
// test fails while a generated file differs. Names are those of
// hostapi/abi/README.md in every language.
package main
