package proc

import (
	"context"
	"os/exec"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// system is the job object that holds the tree, 0 if it could not be made.
type system struct{ job windows.Handle }

// lead makes cmd the first of a process group of its own.
func lead(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.HideWindow = true
	cmd.SysProcAttr.CreationFlags |= windows.CREATE_NEW_PROCESS_GROUP
}

// started puts the leader into a job object, which the system ends when this
// process does. What the leader starts before it is in the job escapes.
func (t *Tree) started() {
	t.identity, _ = Identity(t.pid)
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return
	}
	info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	if err == nil {
		var process windows.Handle
		process, err = windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(t.pid))
		if err == nil {
			err = windows.AssignProcessToJobObject(job, process)
			_ = windows.CloseHandle(process)
		}
	}
	if err != nil {
		_ = windows.CloseHandle(job)
		return
	}
	t.system.job = job
}

// watch closes exited when the leader has exited.
func (t *Tree) watch() {
	defer close(t.exited)
	t.reapEarly()
}

// leftLocked knows nothing of the job's processes: they end with it.
func (t *Tree) leftLocked() (int, error) { return 0, nil }

// endLocked ends the job at once: there is no way to ask its processes.
func (t *Tree) endLocked(_ context.Context, _ time.Duration) (Ending, error) {
	job := t.system.job
	t.system.job = 0
	if job == 0 {
		if err := t.cmd.Process.Kill(); err != nil {
			return Ending{}, nil // it has exited
		}
		return Ending{Killed: 1}, nil
	}
	err := windows.TerminateJobObject(job, 1)
	_ = windows.CloseHandle(job)
	return Ending{Killed: 1}, err
}
