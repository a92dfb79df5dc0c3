/** Every conformance case, by subject. */
import type { Topic } from "../tree.ts";
import { attributes } from "./attributes.ts";
import { content } from "./content.ts";
import { directories } from "./directories.ts";
import { files } from "./files.ts";
import { links } from "./links.ts";
import { listing } from "./listing.ts";
import { names } from "./names.ts";
import { openUnlinked } from "./open-unlinked.ts";
import { put } from "./put.ts";
import { rename } from "./rename.ts";
import { symlinks } from "./symlinks.ts";
import { times } from "./times.ts";
import { truncate } from "./truncate.ts";
import { xattr } from "./xattr.ts";

export const TOPICS: readonly Topic[] = [
  names,
  directories,
  files,
  rename,
  links,
  symlinks,
  listing,
  attributes,
  times,
  xattr,
  content,
  truncate,
  openUnlinked,
  put,
];
