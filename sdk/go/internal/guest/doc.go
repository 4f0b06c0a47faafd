// Package guest is the guest's side of the contract: the imports of the host as
// Go functions, and under a plain go test a stand-in for them that
// sdk/go/plugintest provides. Authors use package mta.
//
// Results are those of the contract: a length, an index or a number, or a
// negative abi.Code.
package guest
