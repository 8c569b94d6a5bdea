// What Linux offers beside POSIX for files of any file system: handles, pipes, leases, notices, asynchronous calls, advice, mounts
// of a directory elsewhere.

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <termios.h>

#include <array>
#include <cstring>

#include "tests/posix/place.h"

namespace dfs::posix {
namespace {

struct Handle {
  // As the kernel writes it: number of bytes, type, bytes.
  alignas(file_handle) std::array<char, sizeof(file_handle) + MAX_HANDLE_SZ> bytes{};
  file_handle* get() { return reinterpret_cast<file_handle*>(bytes.data()); }

  explicit Handle(unsigned room = MAX_HANDLE_SZ) { get()->handle_bytes = room; }
  int fill(const std::string& path) {
    int mount;
    return name_to_handle_at(AT_FDCWD, path.c_str(), get(), &mount, 0);
  }
};

TEST(Handles, OpenTheInodeWhateverItsNameIs) {
  REQUIRE_ROOT();
  Place p;
  makeFile(p.here("f"), "text");
  Handle handle, small(0);
  EXPECT_ERRNO(EOVERFLOW, small.fill(p.here("f")));
  ASSERT_OK(handle.fill(p.here("f")));
  EXPECT_EQ(small.get()->handle_bytes, handle.get()->handle_bytes);
  EXPECT_ERRNO(ENOENT, Handle().fill(p.here("missing")));
  Fd dir(open(p.here().c_str(), O_RDONLY | O_DIRECTORY));
  ASSERT_OK(rename(p.there("f").c_str(), p.there("g").c_str()));
  Fd fd(open_by_handle_at(dir, handle.get(), O_RDONLY));
  ASSERT_GE(int(fd), 0) << errnoName(errno);
  char text[8];
  EXPECT_EQ(read(fd, text, sizeof text), 4);
  ASSERT_OK(unlink(p.here("g").c_str()));
  EXPECT_EQ(pread(fd, text, sizeof text, 0), 4);
  fd.close();
  if (p.twoMounts()) return;  // the kernel keeps what the other mount has renamed for a while
  auto found = [&] {
    Fd again(open_by_handle_at(dir, handle.get(), O_RDONLY));
    return again >= 0;
  };
  for (int i = 0; i < 50 && found(); ++i) usleep(100'000);  // of the close the mount is told later
  EXPECT_ERRNO(ESTALE, open_by_handle_at(dir, handle.get(), O_RDONLY));
}

TEST(Handles, OfDirectoriesAreOpenedByRootAlone) {
  REQUIRE_ROOT();
  Place p;
  makeDirectory(p.here("d"));
  makeFile(p.here("d/f"));
  Handle handle;
  ASSERT_OK(handle.fill(p.here("d")));
  Fd dir(open(p.here().c_str(), O_RDONLY | O_DIRECTORY));
  p.asUser([&] { EXPECT_ERRNO(EPERM, open_by_handle_at(dir, handle.get(), O_RDONLY)); });
  Fd fd(open_by_handle_at(dir, handle.get(), O_RDONLY | O_DIRECTORY));
  ASSERT_GE(int(fd), 0) << errnoName(errno);
  EXPECT_EQ(faccessat(fd, "f", R_OK, 0), 0);
}

struct Pipe {
  Pipe() { EXPECT_OK(pipe2(ends, O_CLOEXEC | O_NONBLOCK)); }
  ~Pipe() {
    close(ends[0]);
    close(ends[1]);
  }
  int ends[2] = {-1, -1};
};

TEST(Splice, MovesBytesBetweenFilesAndPipes) {
  Place p;
  std::string text(10'000, 'a');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 23);
  makeFile(p.here("from"), text);
  makeFile(p.here("to"), "");
  Fd from(open(p.here("from").c_str(), O_RDONLY)), to(open(p.here("to").c_str(), O_RDWR));
  Fd end(open(p.here("to").c_str(), O_WRONLY | O_APPEND));
  Pipe pipe;
  loff_t in = 100, out = 7;
  ASSERT_EQ(splice(from, &in, pipe.ends[1], nullptr, 5000, 0), 5000);
  EXPECT_EQ(in, 5100);
  ASSERT_EQ(splice(pipe.ends[0], nullptr, to, &out, 3000, 0), 3000);
  EXPECT_EQ(out, 3007);
  EXPECT_ERRNO(EINVAL, splice(pipe.ends[0], nullptr, end, nullptr, 10, 0));
  EXPECT_ERRNO(EBADF, splice(pipe.ends[0], nullptr, from, nullptr, 10, 0));
  EXPECT_ERRNO(EINVAL, splice(from, nullptr, to, nullptr, 10, 0));
  EXPECT_EQ(contentsOf(p.there("to")), std::string(7, '\0') + text.substr(100, 3000));
}

TEST(Sendfile, CopiesFromAnOffset) {
  Place p;
  std::string text(200'000, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 >> 3);
  makeFile(p.here("from"), text);
  Fd from(open(p.here("from").c_str(), O_RDONLY));
  Fd to(open(p.here("to").c_str(), O_RDWR | O_CREAT, 0644));
  off_t at = 4090;
  for (off_t done = 0; done < 150'000;) {
    auto n = sendfile(to, from, &at, static_cast<size_t>(150'000 - done));
    ASSERT_GT(n, 0) << errnoName(errno);
    done += n;
  }
  EXPECT_EQ(at, 154'090);
  EXPECT_EQ(contentsOf(p.there("to")), text.substr(4090, 150'000));
  at = 200'000;
  EXPECT_EQ(sendfile(to, from, &at, 10), 0);
  EXPECT_ERRNO(EBADF, sendfile(from, to, nullptr, 10));
}

TEST(Lease, IsGivenWhereNobodyOfThisMountIsInTheWay) {
  Place p;
  makeFile(p.here("f"));
  Fd reader(open(p.here("f").c_str(), O_RDONLY));
  EXPECT_OK(fcntl(reader, F_SETLEASE, F_RDLCK));
  EXPECT_EQ(fcntl(reader, F_GETLEASE), F_RDLCK);
  EXPECT_OK(fcntl(reader, F_SETLEASE, F_UNLCK));
  Fd writer(open(p.here("f").c_str(), O_RDWR));
  EXPECT_ERRNO(EAGAIN, fcntl(reader, F_SETLEASE, F_RDLCK));
  EXPECT_ERRNO(EAGAIN, fcntl(writer, F_SETLEASE, F_WRLCK));
  reader.close();
  EXPECT_OK(fcntl(writer, F_SETLEASE, F_WRLCK));
  EXPECT_OK(fcntl(writer, F_SETLEASE, F_UNLCK));
}

std::vector<uint32_t> eventsOf(int fd) {
  std::vector<uint32_t> masks;
  alignas(inotify_event) char bytes[8192];
  auto n = read(fd, bytes, sizeof bytes);
  for (ssize_t at = 0; at < n;) {
    auto event = reinterpret_cast<const inotify_event*>(bytes + at);
    masks.push_back(event->mask & ~uint32_t(IN_ISDIR));
    at += static_cast<ssize_t>(sizeof *event + event->len);
  }
  return masks;
}

TEST(Inotify, TellsWhatProgramsOfThisMountDo) {
  Place p;
  Fd watch(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  makeFile(p.here("f"));
  ASSERT_OK(inotify_add_watch(watch, p.here().c_str(),
                              IN_CREATE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO |
                                  IN_DELETE | IN_CLOSE_WRITE));
  using Masks = std::vector<uint32_t>;
  {
    Fd fd(open(p.here("f").c_str(), O_WRONLY));
    ASSERT_EQ(write(fd, "x", 1), 1);
  }
  EXPECT_EQ(eventsOf(watch), (Masks{IN_MODIFY, IN_CLOSE_WRITE}));
  ASSERT_OK(chmod(p.here("f").c_str(), 0600));
  ASSERT_OK(rename(p.here("f").c_str(), p.here("g").c_str()));
  EXPECT_EQ(eventsOf(watch), (Masks{IN_ATTRIB, IN_MOVED_FROM, IN_MOVED_TO}));
  ASSERT_OK(mkdir(p.here("d").c_str(), 0700));
  ASSERT_OK(rmdir(p.here("d").c_str()));
  ASSERT_OK(truncate(p.here("g").c_str(), 9));
  ASSERT_OK(unlink(p.here("g").c_str()));
  EXPECT_EQ(eventsOf(watch), (Masks{IN_CREATE, IN_DELETE, IN_MODIFY, IN_DELETE}));
}

TEST(Ioctl, OfTerminalsAndDisksIsNotForFiles) {
  Place p;
  makeFile(p.here("f"), "0123456789");
  Fd fd(open(p.here("f").c_str(), O_RDWR)), dir(open(p.here().c_str(), O_RDONLY));
  termios terminal;
  for (int each : {int(fd), int(dir)}) {
    EXPECT_ERRNO(ENOTTY, ioctl(each, TCGETS, &terminal));
    EXPECT_ERRNO(ENOTTY, ioctl(each, BLKFLSBUF, 0));
  }
  int left = 0;
  ASSERT_EQ(lseek(fd, 3, SEEK_SET), 3);
  EXPECT_OK(ioctl(fd, FIONREAD, &left));
  EXPECT_EQ(left, 7);
}

TEST(Aio, ReadsAndWrites) {
  Place p;
  Fd fd(open(p.here("f").c_str(), O_RDWR | O_CREAT | O_DIRECT, 0644));
  constexpr size_t kBytes = 8192;
  auto memory =
      mmap(nullptr, 2 * kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto bytes = static_cast<char*>(memory);
  memset(bytes, 'w', kBytes);
  aio_context_t context = 0;
  ASSERT_OK(syscall(SYS_io_setup, 4, &context));
  auto run = [&](uint16_t what, char* buffer, int64_t offset, size_t count) {
    iocb one{};
    one.aio_lio_opcode = what;
    one.aio_fildes = static_cast<uint32_t>(int(fd));
    one.aio_buf = reinterpret_cast<uint64_t>(buffer);
    one.aio_nbytes = count;
    one.aio_offset = offset;
    iocb* list[] = {&one};
    io_event event{};
    if (syscall(SYS_io_submit, context, 1, list) != 1) return int64_t(-errno);
    EXPECT_EQ(syscall(SYS_io_getevents, context, 1, 1, &event, nullptr), 1) << errnoName(errno);
    return int64_t(event.res);
  };
  EXPECT_EQ(run(IOCB_CMD_PWRITE, bytes, 4096, kBytes), int64_t(kBytes));
  EXPECT_EQ(run(IOCB_CMD_PREAD, bytes + kBytes, 8192, kBytes), 4096);
  EXPECT_EQ(memcmp(bytes, bytes + kBytes, 4096), 0);
  EXPECT_EQ(run(IOCB_CMD_FSYNC, nullptr, 0, 0), 0);
  ASSERT_OK(syscall(SYS_io_destroy, context));
  ASSERT_OK(munmap(memory, 2 * kBytes));
  EXPECT_EQ(contentsOf(p.there("f")), std::string(4096, '\0') + std::string(kBytes, 'w'));
}

TEST(Advice, ChangesNoContents) {
  Place p;
  std::string text(50'000, 'q');
  makeFile(p.here("f"), text);
  Fd fd(open(p.here("f").c_str(), O_RDWR));
  for (int advice : {POSIX_FADV_NORMAL, POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM,
                     POSIX_FADV_NOREUSE, POSIX_FADV_WILLNEED, POSIX_FADV_DONTNEED}) {
    EXPECT_EQ(posix_fadvise(fd, 0, 0, advice), 0);
  }
  EXPECT_EQ(posix_fadvise(fd, 0, 0, 77), EINVAL);
  EXPECT_EQ(posix_fadvise(fd, 0, -1, POSIX_FADV_NORMAL), EINVAL);
  EXPECT_OK(readahead(fd, 0, 50'000));
  Fd blind(open(p.here("f").c_str(), O_WRONLY));
  EXPECT_ERRNO(EBADF, readahead(blind, 0, 10));
  EXPECT_EQ(contentsOf(p.here("f")), text);
}

TEST(BindMount, OfADirectoryElsewhereIsAnotherMount) {
  REQUIRE_ROOT();
  Place p;
  makeDirectory(p.here("a"));
  makeDirectory(p.here("b"));
  makeFile(p.here("a/f"), "text");
  inChild([&] {
    ASSERT_OK(unshare(CLONE_NEWNS));
    ASSERT_OK(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr));
    ASSERT_OK(mount(p.here("a").c_str(), p.here("b").c_str(), nullptr, MS_BIND, nullptr));
    EXPECT_EQ(contentsOf(p.here("b/f")), "text");
    EXPECT_ERRNO(EXDEV, rename(p.here("a/f").c_str(), p.here("b/g").c_str()));
    EXPECT_ERRNO(EXDEV, link(p.here("a/f").c_str(), p.here("b/g").c_str()));
    EXPECT_ERRNO(EBUSY, rmdir(p.here("b").c_str()));
    EXPECT_ERRNO(EBUSY, rename(p.here("b").c_str(), p.here("c").c_str()));
    auto flags = MS_REMOUNT | MS_BIND | MS_RDONLY;
    ASSERT_OK(mount(nullptr, p.here("b").c_str(), nullptr, flags, nullptr));
    EXPECT_ERRNO(EROFS, unlink(p.here("b/f").c_str()));
    EXPECT_ERRNO(EROFS, open(p.here("b/f").c_str(), O_WRONLY));
    ASSERT_OK(unlink(p.here("a/f").c_str()));
    EXPECT_EQ(namesIn(p.here("b")).size(), 0u);
    ASSERT_OK(umount2(p.here("b").c_str(), MNT_DETACH));
  });
  inChild([&] {
    ASSERT_OK(chroot(p.here().c_str()));
    ASSERT_OK(chdir("/"));
    EXPECT_OK(access("/a", F_OK));
    EXPECT_OK(access("../../b", F_OK));
  });
}

TEST(OnFuse, ARegularFileIsReadyForEpollAtAnyTime) {
  DFS_ONLY();  // a local disk: EPERM
  Place p;
  makeFile(p.here("f"), "text");
  Fd file(open(p.here("f").c_str(), O_RDWR));
  Fd waiting(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT;
  ASSERT_EQ(epoll_ctl(waiting, EPOLL_CTL_ADD, file, &event), 0);
  epoll_event found{};
  EXPECT_EQ(epoll_wait(waiting, &found, 1, 1000), 1);
  EXPECT_EQ(found.events, unsigned(EPOLLIN | EPOLLOUT));
}

TEST(OnFuse, AReadThatMustNotWaitIsNotOffered) {
  DFS_ONLY();
  Place p;
  makeFile(p.here("f"), "text");
  Fd file(open(p.here("f").c_str(), O_RDONLY));
  char text[4];
  iovec into{text, sizeof text};
  EXPECT_EQ(preadv2(file, &into, 1, 0, RWF_NOWAIT), -1);
  EXPECT_EQ(errno, EOPNOTSUPP);
  EXPECT_EQ(preadv2(file, &into, 1, 0, 0), 4);
}

TEST(OnFuse, NothingTellsWhereTheBytesOfAFileLie) {
  DFS_ONLY();
  Place p;
  makeFile(p.here("f"), "text");
  Fd file(open(p.here("f").c_str(), O_RDONLY));
  fiemap map{};
  map.fm_length = 4096;
  EXPECT_EQ(ioctl(file, FS_IOC_FIEMAP, &map), -1);
  EXPECT_EQ(errno, EOPNOTSUPP);
}

TEST(OnFuse, AFileCannotBeSwappedTo) {
  DFS_ONLY();
  REQUIRE_ROOT();
  Place p;
  // What mkswap(8) writes: version 1, ten pages, the signature at the end of the first one.
  std::string contents(10 * 4096, '\0');
  contents[1024] = 1;
  contents[1028] = 9;
  contents.replace(4096 - 10, 10, "SWAPSPACE2");
  makeFile(p.here("f"), contents, 0600);
  int result = swapon(p.here("f").c_str(), 0);
  int err = errno;
  if (result == 0) swapoff(p.here("f").c_str());
  EXPECT_EQ(result, -1);
  EXPECT_EQ(err, EINVAL);
}

}  // namespace
}  // namespace dfs::posix
