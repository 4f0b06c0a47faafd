// Generate compiles the Lua interpreter into the directory built, from where the
// server embeds it: "go generate ./hostapi/script/lua", before "go build".
package main

import (
	"context"
	"log"
	"os"
	"path/filepath"

	"github.com/wasmta/wasmta/hostapi/script/lua"
)

func main() {
	log.SetFlags(0)
	ctx := context.Background()
	root, err := lua.Source(ctx)
	if err != nil {
		log.Fatal(err)
	}
	packed, err := lua.Compile(ctx, root)
	if err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(root, "hostapi", "script", "lua", "built", lua.Embedded)
	if err := os.WriteFile(path, packed, 0o644); err != nil {
		log.Fatal(err)
	}
	log.Printf("%s: %d octets", path, len(packed))
}
