/** `dfs help faults`. */
export const TEXT = `
Every block is kept on three data servers, and the metadata keeps a checksum of it. What follows from that:

  A server dies        reads go on from the other copies, with one warning; writes use the servers that are left. After ten
                       minutes (--out-delay) its copies are made anew elsewhere. When it comes back before, nothing moves.
  A copy rots          whoever reads it notices, takes another copy and reports it; it is made again in its place. The scrub
                       finds those that nobody reads, within two weeks.
  A disk is lost       start the server with dfs data --recover ID, then dfs rebuild ID shows how it is refilled.
  A server is gone     dfs rebuild ID --replace makes its copies on the others at once.
  All copies are bad   reading is an input/output error that names file, offset and servers. Never wrong bytes, never zeros.
  Metadata is lost     it is backed up onto three data servers every hour: dfs meta restore.
  A client dies        what it had stored is there whole; what was on its way is not there at all.

To see it
  dfs corrupt /file && dfs cat /file      one warning, the right bytes, and the copy is mended
  dfs server stop 2 --crash               a server dies
  dfs drill                               all of it, on a cluster of its own, compared byte by byte
  dfs fsck                                every copy of every block is read
  dfs status                              what is wrong now, and how far the mending is

Fewer than three servers: writes go on with two copies (--write-quorum), dfs status says so, and the third is made when it
can be. See docs/faults.md for what is promised, what is not, and which test shows it.`;
