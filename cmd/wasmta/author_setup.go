package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/wasmta/wasmta/core/config"
)

// setup are the flags that configure a plugin without a scenario.
type setup struct {
	Config string   `placeholder:"JSON|FILE" help:"The plugin's configuration: a JSON object, or a .json file; or a server's .toml file, whose [[plugin]] counts, with its tables, secrets and keys. Default: wasmta.toml beside the module, if there is one."`
	Plugin string   `placeholder:"NAME" help:"Which [[plugin]] of the .toml file; default: the only one."`
	Grant  []string `sep:"none" placeholder:"LINE" help:"A line of [plugin.grant], such as 'headers = \"write\"', instead of those of the file; may be repeated."`
}

// load is the configuration of a server with this plugin alone.
func (s *setup) load(p *project) (*config.Config, error) {
	cfg := &config.Config{}
	plugin := config.Plugin{Name: "plugin"}
	file := s.Config
	if file == "" {
		beside := filepath.Join(p.dir, "wasmta.toml")
		if _, err := os.Stat(beside); err == nil {
			file = beside
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, exit{exIOErr, err}
		}
	}
	switch {
	case file == "":
	case strings.IndexAny(strings.TrimSpace(file), "{[") == 0:
		if err := decodeObject([]byte(file), &plugin.Config); err != nil {
			return nil, exitf(exUsage, "--config: %w", err)
		}
	case strings.EqualFold(filepath.Ext(file), ".json"):
		data, err := readFile(file, config.MaxFileSize)
		if err != nil {
			return nil, err
		}
		if err := decodeObject(data, &plugin.Config); err != nil {
			return nil, exitf(exDataErr, "%s: %w", file, err)
		}
	default:
		var err error
		if cfg, err = config.Load(file); err != nil {
			return nil, exit{exConfig, err}
		}
		if plugin, err = s.pick(cfg, file); err != nil {
			return nil, err
		}
	}
	if len(s.Grant) > 0 {
		// The rest is what a configuration must have.
		text := "hostname = \"localhost\"\ndata_dir = \".\"\n[[listener]]\nname = \"mx\"\nrole = \"mx\"\naddress = \"127.0.0.1:2525\"\ntls = \"none\"\n[[plugin]]\nname = \"plugin\"\nmodule = \"plugin.wasm\"\n[plugin.grant]\n"
		granted, err := config.Parse([]byte(text+strings.Join(s.Grant, "\n")+"\n"), "--grant", ".")
		if err == nil && len(granted.Plugins) != 1 {
			err = errors.New("a grant is one line")
		}
		if err != nil {
			return nil, exitf(exUsage, "--grant: %w", grantError(err))
		}
		plugin.Grant = granted.Plugins[0].Grant
	}
	plugin.Module, plugin.Listeners, plugin.Dev = p.path, nil, false
	cfg.Plugins = []config.Plugin{plugin}
	return cfg, nil
}

// grantError leaves out the places, which are those of a file that is not there.
func grantError(err error) error {
	var bad *config.Error
	if errors.As(err, &bad) {
		return errors.New(bad.What)
	}
	return err
}

func (s *setup) pick(cfg *config.Config, file string) (config.Plugin, error) {
	var names []string
	for _, p := range cfg.Plugins {
		if p.Name == s.Plugin || s.Plugin == "" && len(cfg.Plugins) == 1 {
			return p, nil
		}
		names = append(names, p.Name)
	}
	if len(names) == 0 {
		return config.Plugin{}, exitf(exConfig, "%s has no [[plugin]]; give --config '{}' to use none", file)
	}
	return config.Plugin{}, exitf(exUsage, "%s: say which plugin with --plugin: %s", file, strings.Join(names, ", "))
}

// decodeObject reads a JSON object and nothing else. Whole numbers stay whole.
func decodeObject(data []byte, to *map[string]any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(to); err != nil {
		return errors.New("the plugin's configuration must be a JSON object: " + err.Error())
	}
	if d.More() || *to == nil {
		return errors.New("the plugin's configuration must be one JSON object")
	}
	return nil
}
