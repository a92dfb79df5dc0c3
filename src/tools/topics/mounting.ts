/** `dfs help mounting`. */
export const TEXT = `
dfs mount DIR makes the cluster a directory for every program; dfs umount DIR takes it away. Needed: Linux with FUSE
(/dev/fuse), and fusermount3 unless you are root. dfs up --mount DIR does both at once.

  mkdir -p ~/dfs && dfs mount ~/dfs
  cp -r project ~/dfs/ && ls -l ~/dfs/project
  dfs umount ~/dfs

Options (-o, separated by commas)
  ro                   nothing can be changed
  soft, timeo=SECONDS  when the cluster is away, calls fail after so long; by default they wait, and Ctrl-C ends them
  allow_other          for all users (the default for root)

When it hangs
  dfs status           tells what is missing; programs go on when it is back
  dfs umount --lazy    takes the mount away whatever its programs do

At boot: a line in /etc/fstab, with /sbin/mount.dfs a link to bin/dfs. docs/mounting.md has it, and what programs may expect.`;
