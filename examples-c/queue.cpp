// queue: a queue of jobs for several kinds of workers, each at its own pace, in one log.
//
//   queue DIR push JOB...          appends jobs; each is durable when the program ends
//   queue DIR work NAME [COUNT]    does jobs as NAME, and goes on where NAME stopped; ends after COUNT jobs, else never
//   queue DIR show                 who has done how much
//
// A worker saves its position behind each job, so a killed one does at most that job again, and leaves none out. Two
// workers of the same name would do each job twice: give them names of their own, each gets all jobs.
#include <cstdlib>
#include <iostream>
#include <seglog.hpp>
#include <string>

namespace {

int push(const char *dir, char **jobs, int count)
{
    seglog::config how;
    how.sync = LOG_SYNC_NEVER; // one sync for all of them, below
    how.flags = LOG_KEEP_UNCONSUMED;
    seglog::log log(dir, how);
    for (int n = 0; n < count; n++) std::cout << "job " << log.append(jobs[n]) << '\n';
    log.close(); // syncs, and throws if that failed
    return 0;
}

void do_job(const std::string &worker, const seglog::record &job)
{
    std::cout << worker << " does job " << job.offset() << ": " << job.payload() << std::endl;
}

int work(const char *dir, const char *name, long count)
{
    seglog::config how;
    how.flags = LOG_READ_ONLY; // whoever pushes has the log for writing; positions are saved all the same
    const seglog::log log(dir, how);
    std::uint64_t next = log.position(name).value_or(log.stat().first_offset);
    if (next < log.stat().first_offset) next = log.stat().first_offset; // trimmed away: those jobs are lost to us
    seglog::cursor jobs = log.from(next);
    for (long done = 0; count < 0 || done < count; done++) {
        jobs.wait(); // sleeps until there is a job, in whichever process it is pushed
        const auto job = jobs.next();
        if (!job) continue;
        do_job(name, *job);
        log.save_position(name, job->offset() + 1);
    }
    return 0;
}

int show(const char *dir)
{
    seglog::config how;
    how.flags = LOG_READ_ONLY;
    const seglog::log log(dir, how);
    const log_stat_t stat = log.stat();
    std::cout << "jobs " << stat.first_offset << " to " << stat.next_offset << '\n';
    for (std::size_t n = 0;; n++) {
        const auto position = log.position_at(n);
        if (!position) return 0;
        std::cout << position->first << ": " << stat.next_offset - position->second << " to do\n";
    }
}

} // namespace

int main(int argc, char **argv)
{
    const std::string verb = argc > 2 ? argv[2] : "";
    try {
        if (verb == "push") return push(argv[1], argv + 3, argc - 3);
        if (verb == "work" && argc > 3) return work(argv[1], argv[3], argc > 4 ? std::strtol(argv[4], nullptr, 10) : -1);
        if (verb == "show") return show(argv[1]);
    } catch (const seglog::exception &e) {
        std::cerr << "queue: " << e.what() << '\n';
        return 1;
    }
    std::cerr << "usage: queue DIR push JOB... | work NAME [COUNT] | show\n";
    return 2;
}
