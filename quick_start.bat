@echo off
rem The same as "python quick_start.py", for a double click or a Windows prompt.
rem Options are passed on: quick_start.bat --data folder:photos
setlocal
set "here=%~dp0"
where py >nul 2>nul
if not errorlevel 1 (
    py -3 "%here%quick_start.py" %*
    goto finished
)
where python >nul 2>nul
if not errorlevel 1 (
    python "%here%quick_start.py" %*
    goto finished
)
echo Expected Python 3.11 or newer to be installed, but found neither "py" nor "python".
echo Try installing Python from python.org or the Microsoft Store, then start this file again.
if "%~1"=="" pause
exit /b 9009

:finished
set "status=%errorlevel%"
rem A double click opens a window of its own; without a pause it would close before being read.
if "%~1"=="" pause
exit /b %status%
