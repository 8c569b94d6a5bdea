#include "fuse-client/remote/ranges.h"

namespace dfs {

kj::Promise<Outcome<BlockId>> Ranges::next(InodeId file, kj::Maybe<ChainId> notOn) {
  return take(file, notOn);
}

void Ranges::forgetOldSession() {
  if (era_ == names_.era()) return;
  era_ = names_.era();
  ranges_.clear();
  left_ = 0;
}

kj::Maybe<BlockId> Ranges::pop(kj::Maybe<ChainId> notOn) {
  forgetOldSession();
  for (size_t i = 0; i < ranges_.size(); ++i) {
    auto range = ranges_.front();
    ranges_.pop_front();
    bool wrong = false;
    KJ_IF_MAYBE(chain, notOn) wrong = *chain == range.chain;
    if (wrong) {
      ranges_.push_back(range);
      continue;
    }
    BlockId id(range.chain, range.first);
    ++range.first;
    --left_;
    if (--range.count > 0) ranges_.push_back(range);
    return id;
  }
  return nullptr;
}

Task<Outcome<BlockId>> Ranges::take(InodeId file, kj::Maybe<ChainId> notOn) {
  for (uint32_t tries = 0;; ++tries) {
    KJ_IF_MAYBE(id, pop(notOn)) {
      if (left_ < batch_ / 2 && !aheadRuns_) {
        aheadRuns_ = true;
        kj::Promise<Errno> ahead = fetch(file);
        names_.background(ahead.then(
            [this](Errno) { aheadRuns_ = false; },  // whoever needs the ids is told the error
            [this](kj::Exception&& e) {
              aheadRuns_ = false;
              KJ_LOG(WARNING, "block ids could not be fetched ahead", e);
            }));
      }
      co_return *id;
    }
    if (tries >= 4) co_return Errno::NO_SPACE;  // only ids on the chain that is not wanted came
    auto err = co_await fetch(file);
    if (err != Errno::OK) co_return err;
  }
}

Task<Errno> Ranges::fetch(InodeId file) {
  auto before = left_;
  auto alone = co_await fetching_.alone();
  forgetOldSession();
  if (left_ > before) co_return Errno::OK;  // who came first has fetched for both
  auto era = names_.era();
  uint32_t count = batch_;
  auto answer = co_await names_.ask<schema::Session::AllotResults>(
      [file, count](schema::Session::Client& session) {
        auto request = session.allotRequest();
        request.setBlocks(count);
        request.setForFile(file.value);
        return request;
      });
  if (answer.getErr() != Errno::OK) co_return answer.getErr();
  if (era != names_.era()) co_return Errno::OK;  // asked by the old session: nobody's now
  forgetOldSession();
  for (auto range : answer.getRanges()) {
    if (range.getCount() == 0) continue;
    ranges_.push_back({ChainId(range.getChain()), range.getFirst(), range.getCount()});
    left_ += range.getCount();
  }
  batch_ = kj::min(batch_ * 2, kBatchMax);
  co_return Errno::OK;
}

}  // namespace dfs
