"""The learning-rate schedules that `optim.schedule` names, one in each file; `optim/schedule.py` says what a file declares."""
