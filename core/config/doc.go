// Package config is the configuration file: its schema, its defaults, and
// errors that say file:line:column, what is wrong and what to write. It opens
// nothing that the file names and knows no package that it configures: cmd
// translates.
//
// The file is TOML, read strictly: an unknown key is an error. Relative paths
// are relative to the directory of the file. sample.toml in this directory
// shows every key with its default; a test loads it.
package config
