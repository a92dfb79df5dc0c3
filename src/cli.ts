// The entry point of the dfs command. It knows one flag so far: --version.
import pkg from "../package.json" with { type: "json" };

if (process.argv[2] === "--version") {
  console.log(`dfs ${pkg.version}`);
} else {
  console.error("dfs: nothing to do\nTry: dfs --version");
  process.exitCode = 2;
}
