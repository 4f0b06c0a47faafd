
export const table = Object.freeze({
  lookup: (table, key) => {
    const v = host.table_lookup(string(table), string(key));
    return typeof v !== "number" ? v : v === -2 ? undefined : raise(v, `table: look up in ${table}`);
  },
});
