// Package vm boots real kernels that this machine does not run: Debian's 5.10, 6.1 and
// 6.12 with BPF LSM, in QEMU without hardware help. It owns the kernel packages' cache, the
// initramfs, the way commands get in and their output comes out. Its tests run the
// sensor's own tests inside and know nothing of what these check.
package vm
