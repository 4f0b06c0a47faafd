// asc takes the file index.ts of a package.
export * from "./assembly/index";
